-- Made by: python -m perfctl.store.tables > perfctl/store/schema.sql

CREATE TABLE artifact (
	sha256 TEXT NOT NULL,
	size_bytes INTEGER NOT NULL,
	content BLOB NOT NULL,
	CONSTRAINT pk_artifact PRIMARY KEY (sha256)
)
 STRICT;

CREATE TABLE benchmark (
	benchmark_id TEXT NOT NULL,
	workload TEXT NOT NULL,
	parameters_json TEXT NOT NULL,
	scope TEXT NOT NULL,
	expected_s REAL NOT NULL,
	CONSTRAINT pk_benchmark PRIMARY KEY (benchmark_id)
)
 STRICT;

CREATE TABLE environment (
	environment_id TEXT NOT NULL,
	name TEXT NOT NULL,
	kind TEXT NOT NULL,
	description TEXT NOT NULL,
	fields_json TEXT NOT NULL,
	CONSTRAINT pk_environment PRIMARY KEY (environment_id)
)
 STRICT;

CREATE TABLE fingerprint (
	fingerprint_id TEXT NOT NULL,
	facts_json TEXT NOT NULL,
	CONSTRAINT pk_fingerprint PRIMARY KEY (fingerprint_id)
)
 STRICT;

CREATE TABLE host (
	host_id TEXT NOT NULL,
	name TEXT NOT NULL,
	address TEXT NOT NULL,
	connection TEXT NOT NULL,
	port INTEGER NOT NULL,
	user_name TEXT,
	test_address TEXT,
	resource TEXT,
	CONSTRAINT pk_host PRIMARY KEY (host_id)
)
 STRICT;

CREATE TABLE metric (
	metric_pk INTEGER NOT NULL,
	metric_id TEXT NOT NULL,
	workload TEXT NOT NULL,
	name TEXT NOT NULL,
	unit TEXT NOT NULL,
	direction TEXT NOT NULL,
	is_headline INTEGER NOT NULL,
	description TEXT NOT NULL,
	show_difference INTEGER DEFAULT 0 NOT NULL,
	CONSTRAINT pk_metric PRIMARY KEY (metric_pk),
	CONSTRAINT uq_metric_metric_id UNIQUE (metric_id)
)
 STRICT;

CREATE TABLE run (
	run_id TEXT NOT NULL,
	suite TEXT NOT NULL,
	seed TEXT NOT NULL,
	baseline TEXT NOT NULL,
	plan_json TEXT NOT NULL,
	planned_invocations INTEGER NOT NULL,
	command_json TEXT NOT NULL,
	inventory_json TEXT NOT NULL,
	perfctl_version TEXT NOT NULL,
	status TEXT NOT NULL,
	started_at REAL NOT NULL,
	ended_at REAL,
	thresholds_json TEXT,
	CONSTRAINT pk_run PRIMARY KEY (run_id),
	CONSTRAINT ck_run_status CHECK (status IN ('running', 'complete', 'partial', 'interrupted'))
)
 STRICT;

CREATE TABLE block (
	block_id TEXT NOT NULL,
	run_id TEXT NOT NULL,
	benchmark TEXT NOT NULL,
	benchmark_id TEXT NOT NULL,
	target TEXT NOT NULL,
	host_id TEXT NOT NULL,
	peer_id TEXT,
	block_index INTEGER NOT NULL,
	attempt INTEGER NOT NULL,
	order_json TEXT NOT NULL,
	status TEXT NOT NULL,
	started_at REAL NOT NULL,
	ended_at REAL,
	CONSTRAINT pk_block PRIMARY KEY (block_id),
	CONSTRAINT ck_block_status CHECK (status IN ('running', 'complete', 'failed', 'interrupted')),
	CONSTRAINT uq_block_run_id_benchmark_target_block_index_attempt UNIQUE (run_id, benchmark, target, block_index, attempt),
	CONSTRAINT fk_block_run_id_run FOREIGN KEY(run_id) REFERENCES run (run_id),
	CONSTRAINT fk_block_benchmark_id_benchmark FOREIGN KEY(benchmark_id) REFERENCES benchmark (benchmark_id),
	CONSTRAINT fk_block_host_id_host FOREIGN KEY(host_id) REFERENCES host (host_id),
	CONSTRAINT fk_block_peer_id_host FOREIGN KEY(peer_id) REFERENCES host (host_id)
)
 STRICT;

CREATE TABLE environment_snapshot (
	environment_snapshot_id TEXT NOT NULL,
	run_id TEXT NOT NULL,
	host_id TEXT NOT NULL,
	environment_id TEXT NOT NULL,
	fingerprint_id TEXT NOT NULL,
	dynamic_json TEXT NOT NULL,
	taken_at REAL NOT NULL,
	CONSTRAINT pk_environment_snapshot PRIMARY KEY (environment_snapshot_id),
	CONSTRAINT fk_environment_snapshot_run_id_run FOREIGN KEY(run_id) REFERENCES run (run_id),
	CONSTRAINT fk_environment_snapshot_host_id_host FOREIGN KEY(host_id) REFERENCES host (host_id),
	CONSTRAINT fk_environment_snapshot_environment_id_environment FOREIGN KEY(environment_id) REFERENCES environment (environment_id),
	CONSTRAINT fk_environment_snapshot_fingerprint_id_fingerprint FOREIGN KEY(fingerprint_id) REFERENCES fingerprint (fingerprint_id)
)
 STRICT;

CREATE INDEX ix_environment_snapshot_run_id ON environment_snapshot (run_id);

CREATE TABLE event (
	event_id TEXT NOT NULL,
	run_id TEXT NOT NULL,
	happened_at REAL NOT NULL,
	level TEXT NOT NULL,
	place TEXT NOT NULL,
	text TEXT NOT NULL,
	CONSTRAINT pk_event PRIMARY KEY (event_id),
	CONSTRAINT fk_event_run_id_run FOREIGN KEY(run_id) REFERENCES run (run_id)
)
 STRICT;

CREATE INDEX ix_event_run_id ON event (run_id);

CREATE TABLE host_snapshot (
	host_snapshot_id TEXT NOT NULL,
	run_id TEXT NOT NULL,
	host_id TEXT NOT NULL,
	phase TEXT NOT NULL,
	fingerprint_id TEXT NOT NULL,
	dynamic_json TEXT NOT NULL,
	taken_at REAL NOT NULL,
	CONSTRAINT pk_host_snapshot PRIMARY KEY (host_snapshot_id),
	CONSTRAINT ck_host_snapshot_phase CHECK (phase IN ('before', 'after')),
	CONSTRAINT fk_host_snapshot_run_id_run FOREIGN KEY(run_id) REFERENCES run (run_id),
	CONSTRAINT fk_host_snapshot_host_id_host FOREIGN KEY(host_id) REFERENCES host (host_id),
	CONSTRAINT fk_host_snapshot_fingerprint_id_fingerprint FOREIGN KEY(fingerprint_id) REFERENCES fingerprint (fingerprint_id)
)
 STRICT;

CREATE INDEX ix_host_snapshot_run_id ON host_snapshot (run_id);

CREATE TABLE run_benchmark (
	run_id TEXT NOT NULL,
	name TEXT NOT NULL,
	benchmark_id TEXT NOT NULL,
	position INTEGER NOT NULL,
	CONSTRAINT pk_run_benchmark PRIMARY KEY (run_id, name),
	CONSTRAINT fk_run_benchmark_run_id_run FOREIGN KEY(run_id) REFERENCES run (run_id),
	CONSTRAINT fk_run_benchmark_benchmark_id_benchmark FOREIGN KEY(benchmark_id) REFERENCES benchmark (benchmark_id)
)
 WITHOUT ROWID,
 STRICT;

CREATE TABLE run_environment (
	run_id TEXT NOT NULL,
	name TEXT NOT NULL,
	environment_id TEXT NOT NULL,
	position INTEGER NOT NULL,
	CONSTRAINT pk_run_environment PRIMARY KEY (run_id, name),
	CONSTRAINT fk_run_environment_run_id_run FOREIGN KEY(run_id) REFERENCES run (run_id),
	CONSTRAINT fk_run_environment_environment_id_environment FOREIGN KEY(environment_id) REFERENCES environment (environment_id)
)
 WITHOUT ROWID,
 STRICT;

CREATE TABLE run_host (
	run_id TEXT NOT NULL,
	name TEXT NOT NULL,
	host_id TEXT NOT NULL,
	CONSTRAINT pk_run_host PRIMARY KEY (run_id, name),
	CONSTRAINT fk_run_host_run_id_run FOREIGN KEY(run_id) REFERENCES run (run_id),
	CONSTRAINT fk_run_host_host_id_host FOREIGN KEY(host_id) REFERENCES host (host_id)
)
 WITHOUT ROWID,
 STRICT;

CREATE TABLE workload_version (
	fingerprint_id TEXT NOT NULL,
	program TEXT NOT NULL,
	version TEXT,
	sha256 TEXT,
	CONSTRAINT pk_workload_version PRIMARY KEY (fingerprint_id, program),
	CONSTRAINT fk_workload_version_fingerprint_id_fingerprint FOREIGN KEY(fingerprint_id) REFERENCES fingerprint (fingerprint_id)
)
 WITHOUT ROWID,
 STRICT;

CREATE TABLE invocation (
	invocation_pk INTEGER NOT NULL,
	invocation_id TEXT NOT NULL,
	block_id TEXT NOT NULL,
	environment_id TEXT NOT NULL,
	replicate INTEGER NOT NULL,
	position INTEGER NOT NULL,
	status TEXT NOT NULL,
	reason TEXT,
	detail TEXT NOT NULL,
	argv_json TEXT NOT NULL,
	exit_code INTEGER,
	started_at REAL NOT NULL,
	host_started_ns INTEGER,
	host_ended_ns INTEGER,
	stdout_sha256 TEXT,
	stderr_sha256 TEXT,
	counters_before_sha256 TEXT,
	counters_after_sha256 TEXT,
	fingerprint_id TEXT,
	accelerator TEXT,
	validity TEXT,
	validity_json TEXT,
	vcpus INTEGER,
	boot_attempts INTEGER,
	user_s REAL,
	system_s REAL,
	max_rss_bytes INTEGER,
	minor_faults INTEGER,
	major_faults INTEGER,
	voluntary_switches INTEGER,
	involuntary_switches INTEGER,
	usage_source TEXT,
	usage_missing TEXT,
	CONSTRAINT pk_invocation PRIMARY KEY (invocation_pk),
	CONSTRAINT ck_invocation_status CHECK (status IN ('ok', 'failed', 'skipped', 'interrupted')),
	CONSTRAINT ck_invocation_reason CHECK ((status = 'ok') = (reason IS NULL)),
	CONSTRAINT ck_invocation_accelerator CHECK (accelerator IN ('kvm', 'tcg')),
	CONSTRAINT ck_invocation_validity CHECK (validity IN ('valid', 'flagged', 'invalid')),
	CONSTRAINT ck_invocation_validity_json CHECK ((validity IS NULL) = (validity_json IS NULL)),
	CONSTRAINT ck_invocation_vcpus CHECK (vcpus >= 1),
	CONSTRAINT ck_invocation_boot_attempts CHECK (boot_attempts >= 1),
	CONSTRAINT ck_invocation_user_s CHECK (user_s >= 0),
	CONSTRAINT ck_invocation_system_s CHECK (system_s >= 0),
	CONSTRAINT ck_invocation_max_rss_bytes CHECK (max_rss_bytes >= 0),
	CONSTRAINT ck_invocation_minor_faults CHECK (minor_faults >= 0),
	CONSTRAINT ck_invocation_major_faults CHECK (major_faults >= 0),
	CONSTRAINT ck_invocation_voluntary_switches CHECK (voluntary_switches >= 0),
	CONSTRAINT ck_invocation_involuntary_switches CHECK (involuntary_switches >= 0),
	CONSTRAINT ck_invocation_usage_source CHECK (usage_source IN ('wait4', 'cgroup')),
	CONSTRAINT uq_invocation_invocation_id UNIQUE (invocation_id),
	CONSTRAINT uq_invocation_block_id_environment_id_replicate UNIQUE (block_id, environment_id, replicate),
	CONSTRAINT fk_invocation_block_id_block FOREIGN KEY(block_id) REFERENCES block (block_id),
	CONSTRAINT fk_invocation_environment_id_environment FOREIGN KEY(environment_id) REFERENCES environment (environment_id),
	CONSTRAINT fk_invocation_stdout_sha256_artifact FOREIGN KEY(stdout_sha256) REFERENCES artifact (sha256),
	CONSTRAINT fk_invocation_stderr_sha256_artifact FOREIGN KEY(stderr_sha256) REFERENCES artifact (sha256),
	CONSTRAINT fk_invocation_counters_before_sha256_artifact FOREIGN KEY(counters_before_sha256) REFERENCES artifact (sha256),
	CONSTRAINT fk_invocation_counters_after_sha256_artifact FOREIGN KEY(counters_after_sha256) REFERENCES artifact (sha256),
	CONSTRAINT fk_invocation_fingerprint_id_fingerprint FOREIGN KEY(fingerprint_id) REFERENCES fingerprint (fingerprint_id)
)
 STRICT;

CREATE TABLE invocation_artifact (
	invocation_pk INTEGER NOT NULL,
	name TEXT NOT NULL,
	sha256 TEXT,
	CONSTRAINT pk_invocation_artifact PRIMARY KEY (invocation_pk, name),
	CONSTRAINT ck_invocation_artifact_name CHECK (NOT name IN ('stdout', 'stderr', 'counters_before', 'counters_after')),
	CONSTRAINT fk_invocation_artifact_invocation_pk_invocation FOREIGN KEY(invocation_pk) REFERENCES invocation (invocation_pk),
	CONSTRAINT fk_invocation_artifact_sha256_artifact FOREIGN KEY(sha256) REFERENCES artifact (sha256)
)
 WITHOUT ROWID,
 STRICT;

CREATE TABLE invocation_metric (
	invocation_pk INTEGER NOT NULL,
	metric_pk INTEGER NOT NULL,
	value REAL,
	sample_count INTEGER NOT NULL,
	warmup_count INTEGER NOT NULL,
	value_sum REAL NOT NULL,
	minimum REAL NOT NULL,
	maximum REAL NOT NULL,
	CONSTRAINT pk_invocation_metric PRIMARY KEY (invocation_pk, metric_pk),
	CONSTRAINT fk_invocation_metric_invocation_pk_invocation FOREIGN KEY(invocation_pk) REFERENCES invocation (invocation_pk),
	CONSTRAINT fk_invocation_metric_metric_pk_metric FOREIGN KEY(metric_pk) REFERENCES metric (metric_pk)
)
 WITHOUT ROWID,
 STRICT;

CREATE TABLE sample (
	invocation_pk INTEGER NOT NULL,
	metric_pk INTEGER NOT NULL,
	sample_index INTEGER NOT NULL,
	is_warmup INTEGER NOT NULL,
	value REAL NOT NULL,
	CONSTRAINT pk_sample PRIMARY KEY (invocation_pk, metric_pk, sample_index),
	CONSTRAINT fk_sample_invocation_pk_invocation FOREIGN KEY(invocation_pk) REFERENCES invocation (invocation_pk),
	CONSTRAINT fk_sample_metric_pk_metric FOREIGN KEY(metric_pk) REFERENCES metric (metric_pk)
)
 WITHOUT ROWID,
 STRICT;

CREATE TABLE series (
	invocation_pk INTEGER NOT NULL,
	metric_pk INTEGER NOT NULL,
	sample_count INTEGER NOT NULL,
	warmup_count INTEGER NOT NULL,
	value_sum REAL NOT NULL,
	packed BLOB NOT NULL,
	CONSTRAINT pk_series PRIMARY KEY (invocation_pk, metric_pk),
	CONSTRAINT fk_series_invocation_pk_invocation FOREIGN KEY(invocation_pk) REFERENCES invocation (invocation_pk),
	CONSTRAINT fk_series_metric_pk_metric FOREIGN KEY(metric_pk) REFERENCES metric (metric_pk)
)
 WITHOUT ROWID,
 STRICT;
