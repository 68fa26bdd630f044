BEGIN TRANSACTION;
CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num));
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE artifact (
	sha256 TEXT NOT NULL,
	size_bytes INTEGER NOT NULL,
	content BLOB NOT NULL,
	CONSTRAINT pk_artifact PRIMARY KEY (sha256)
)
 STRICT;
INSERT INTO "artifact" VALUES('59469b705e24314f99d4e53c4fb23c5a17310b1e3fff32047015e4985e28a08d',25,X'28B52FFD2019C900006576656E747320706572207365636F6E643A203130302E300A');
INSERT INTO "artifact" VALUES('6b9d95c15bc50d1d509aba21529f7fc4653033c05bf2ccd5bdd8f718d111d01b',11,X'28B52FFD200B590000637075202031203220330A');
INSERT INTO "artifact" VALUES('9094fe899b0f768602c856f347621ab03fabafcae35927e86b982ed68c4c8bc9',11,X'28B52FFD200B590000637075202032203320340A');
INSERT INTO "artifact" VALUES('048715e6e607872201947ea0e56ef0a6e77e460a7fd24c8f407bf9971b0a52d0',9,X'28B52FFD200949000069742068616E67730A');
CREATE TABLE benchmark (
	benchmark_id TEXT NOT NULL,
	workload TEXT NOT NULL,
	parameters_json TEXT NOT NULL,
	scope TEXT NOT NULL,
	expected_s REAL NOT NULL,
	CONSTRAINT pk_benchmark PRIMARY KEY (benchmark_id)
)
 STRICT;
INSERT INTO "benchmark" VALUES('341e1a5c88a69fedee16799691fe4225e768a422714116ce3a52f6177c9f1559','sysbench','{"test":"cpu","threads":1}','host',10.0);
INSERT INTO "benchmark" VALUES('883ae52d5c7e2d8e0b71e9bc266f62ee3e631614d249f18daa8a6ce483a040b4','netperf','{"test":"TCP_STREAM"}','pair',2.5);
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
INSERT INTO "block" VALUES('01a201b7-c689-776f-ac4d-87a3658a6c17','01a201b7-c683-7781-a347-0c8741be1b92','cpu-1','341e1a5c88a69fedee16799691fe4225e768a422714116ce3a52f6177c9f1559','h1','d6d757bfcd5a46c0debcac4c61bc51fbae98fe890fa52ed70c338b9cb842909a',NULL,0,1,'[["container",1],["native",1],["native",2]]','complete',1.79532515085729455946e+09,1.79532515085915136336e+09);
INSERT INTO "block" VALUES('01a201b7-c68b-7320-81de-1c50c0e34c2e','01a201b7-c683-7781-a347-0c8741be1b92','cpu-1','341e1a5c88a69fedee16799691fe4225e768a422714116ce3a52f6177c9f1559','h1','d6d757bfcd5a46c0debcac4c61bc51fbae98fe890fa52ed70c338b9cb842909a',NULL,1,1,'[["container",1],["native",1],["native",2]]','complete',1.7953251508593688011e+09,1.79532515086048412322e+09);
INSERT INTO "block" VALUES('01a201b7-c68c-77a6-ac9d-7f0f48b5f8c5','01a201b7-c683-7781-a347-0c8741be1b92','stream','883ae52d5c7e2d8e0b71e9bc266f62ee3e631614d249f18daa8a6ce483a040b4','h1->h2','d6d757bfcd5a46c0debcac4c61bc51fbae98fe890fa52ed70c338b9cb842909a','bb9406cdb653ed40b0531b049e1b06c9ea70edb5b585ff7c673892d9417cd4c6',0,1,'[["container",1],["native",1],["native",2]]','failed',1.79532515086062097542e+09,1.79532515086185765268e+09);
CREATE TABLE environment (
	environment_id TEXT NOT NULL,
	name TEXT NOT NULL,
	kind TEXT NOT NULL,
	description TEXT NOT NULL,
	fields_json TEXT NOT NULL,
	CONSTRAINT pk_environment PRIMARY KEY (environment_id)
)
 STRICT;
INSERT INTO "environment" VALUES('0f15c3927e1641ea5d3119fd22bdd6a35dde26b379bfa67d282e52c2cb7802c6','native','native','','{"cap_add":[],"engine":null,"image":null,"kind":"native","name":"native","network":null,"privileged":false,"security_opt":[]}');
INSERT INTO "environment" VALUES('b6402b725c4f918da5b70643e88ae92a1a2bad66c4ddbd8890ea27da2dc4b851','container','container','','{"cap_add":[],"engine":"docker","image":"perf-tools","kind":"container","name":"container","network":"bridge","privileged":false,"security_opt":[]}');
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
INSERT INTO "environment_snapshot" VALUES('01a201b7-c688-7ecb-a003-b866b2e2328c','01a201b7-c683-7781-a347-0c8741be1b92','d6d757bfcd5a46c0debcac4c61bc51fbae98fe890fa52ed70c338b9cb842909a','b6402b725c4f918da5b70643e88ae92a1a2bad66c4ddbd8890ea27da2dc4b851','d432810859598cd17f2384c6624619ebceb5bd39155295d222f1273aa74c5840','[["load.1min","present","0.1"]]',1.79532515085703063008e+09);
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
INSERT INTO "event" VALUES('01a201b7-c68d-7cd1-893c-1ad7707e7f36','01a201b7-c683-7781-a347-0c8741be1b92',1.79532515086194729807e+09,'warning','h1','the load is high');
CREATE TABLE fingerprint (
	fingerprint_id TEXT NOT NULL,
	facts_json TEXT NOT NULL,
	CONSTRAINT pk_fingerprint PRIMARY KEY (fingerprint_id)
)
 STRICT;
INSERT INTO "fingerprint" VALUES('8a5cd7fe5ee9d484051eb52d9b03ee3ec0fa78781c3141a9c5c21e26f0d2c99c','[["tool.sysbench.sha256","present","abababababababababababababababababababababababababababababababab"],["tool.sysbench.version","present","1.0.20"]]');
INSERT INTO "fingerprint" VALUES('d432810859598cd17f2384c6624619ebceb5bd39155295d222f1273aa74c5840','[["environment.image.digest","present","sha256:1"],["tool.sysbench.sha256","present","abababababababababababababababababababababababababababababababab"],["tool.sysbench.version","present","1.0.20"]]');
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
INSERT INTO "host" VALUES('d6d757bfcd5a46c0debcac4c61bc51fbae98fe890fa52ed70c338b9cb842909a','h1','192.0.2.1','ssh',22,NULL,'198.51.100.1',NULL);
INSERT INTO "host" VALUES('bb9406cdb653ed40b0531b049e1b06c9ea70edb5b585ff7c673892d9417cd4c6','h2','192.0.2.2','ssh',22,'root',NULL,NULL);
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
INSERT INTO "host_snapshot" VALUES('01a201b7-c688-7016-8725-6d2f33b258ea','01a201b7-c683-7781-a347-0c8741be1b92','d6d757bfcd5a46c0debcac4c61bc51fbae98fe890fa52ed70c338b9cb842909a','before','8a5cd7fe5ee9d484051eb52d9b03ee3ec0fa78781c3141a9c5c21e26f0d2c99c','[["load.1min","present","0.1"]]',1.79532515085669469828e+09);
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
	CONSTRAINT pk_invocation PRIMARY KEY (invocation_pk),
	CONSTRAINT ck_invocation_status CHECK (status IN ('ok', 'failed', 'skipped', 'interrupted')),
	CONSTRAINT ck_invocation_reason CHECK ((status = 'ok') = (reason IS NULL)),
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
INSERT INTO "invocation" VALUES(1,'01a201b7-c689-7a72-9ee0-f49fdf93083c','01a201b7-c689-776f-ac4d-87a3658a6c17','b6402b725c4f918da5b70643e88ae92a1a2bad66c4ddbd8890ea27da2dc4b851',1,0,'ok',NULL,'','["sysbench","cpu","run"]',0,1700000000.25,10000000000,12500000000,'59469b705e24314f99d4e53c4fb23c5a17310b1e3fff32047015e4985e28a08d',NULL,'6b9d95c15bc50d1d509aba21529f7fc4653033c05bf2ccd5bdd8f718d111d01b','9094fe899b0f768602c856f347621ab03fabafcae35927e86b982ed68c4c8bc9',NULL);
INSERT INTO "invocation" VALUES(2,'01a201b7-c68a-7cf5-af0e-b091d99334b5','01a201b7-c689-776f-ac4d-87a3658a6c17','0f15c3927e1641ea5d3119fd22bdd6a35dde26b379bfa67d282e52c2cb7802c6',1,1,'ok',NULL,'','["sysbench","cpu","run"]',0,1700000000.25,10000000000,12500000000,'59469b705e24314f99d4e53c4fb23c5a17310b1e3fff32047015e4985e28a08d',NULL,'6b9d95c15bc50d1d509aba21529f7fc4653033c05bf2ccd5bdd8f718d111d01b','9094fe899b0f768602c856f347621ab03fabafcae35927e86b982ed68c4c8bc9',NULL);
INSERT INTO "invocation" VALUES(3,'01a201b7-c68a-7a20-82d6-728221dacc3a','01a201b7-c689-776f-ac4d-87a3658a6c17','0f15c3927e1641ea5d3119fd22bdd6a35dde26b379bfa67d282e52c2cb7802c6',2,2,'ok',NULL,'','["sysbench","cpu","run"]',0,1700000000.25,10000000000,12500000000,'59469b705e24314f99d4e53c4fb23c5a17310b1e3fff32047015e4985e28a08d',NULL,'6b9d95c15bc50d1d509aba21529f7fc4653033c05bf2ccd5bdd8f718d111d01b','9094fe899b0f768602c856f347621ab03fabafcae35927e86b982ed68c4c8bc9',NULL);
INSERT INTO "invocation" VALUES(4,'01a201b7-c68b-7b39-ac17-6861f5a5b076','01a201b7-c68b-7320-81de-1c50c0e34c2e','b6402b725c4f918da5b70643e88ae92a1a2bad66c4ddbd8890ea27da2dc4b851',1,0,'ok',NULL,'','["sysbench","cpu","run"]',0,1700000000.25,10000000000,12500000000,'59469b705e24314f99d4e53c4fb23c5a17310b1e3fff32047015e4985e28a08d',NULL,'6b9d95c15bc50d1d509aba21529f7fc4653033c05bf2ccd5bdd8f718d111d01b','9094fe899b0f768602c856f347621ab03fabafcae35927e86b982ed68c4c8bc9',NULL);
INSERT INTO "invocation" VALUES(5,'01a201b7-c68b-7ea5-8ce2-02c686905620','01a201b7-c68b-7320-81de-1c50c0e34c2e','0f15c3927e1641ea5d3119fd22bdd6a35dde26b379bfa67d282e52c2cb7802c6',1,1,'ok',NULL,'','["sysbench","cpu","run"]',0,1700000000.25,10000000000,12500000000,'59469b705e24314f99d4e53c4fb23c5a17310b1e3fff32047015e4985e28a08d',NULL,'6b9d95c15bc50d1d509aba21529f7fc4653033c05bf2ccd5bdd8f718d111d01b','9094fe899b0f768602c856f347621ab03fabafcae35927e86b982ed68c4c8bc9',NULL);
INSERT INTO "invocation" VALUES(6,'01a201b7-c68c-71aa-a335-cc112da863f4','01a201b7-c68b-7320-81de-1c50c0e34c2e','0f15c3927e1641ea5d3119fd22bdd6a35dde26b379bfa67d282e52c2cb7802c6',2,2,'ok',NULL,'','["sysbench","cpu","run"]',0,1700000000.25,10000000000,12500000000,'59469b705e24314f99d4e53c4fb23c5a17310b1e3fff32047015e4985e28a08d',NULL,'6b9d95c15bc50d1d509aba21529f7fc4653033c05bf2ccd5bdd8f718d111d01b','9094fe899b0f768602c856f347621ab03fabafcae35927e86b982ed68c4c8bc9',NULL);
INSERT INTO "invocation" VALUES(7,'01a201b7-c68c-70e8-a894-5d7671510dd2','01a201b7-c68c-77a6-ac9d-7f0f48b5f8c5','b6402b725c4f918da5b70643e88ae92a1a2bad66c4ddbd8890ea27da2dc4b851',1,0,'ok',NULL,'','["sysbench","cpu","run"]',0,1700000000.25,10000000000,12500000000,'59469b705e24314f99d4e53c4fb23c5a17310b1e3fff32047015e4985e28a08d',NULL,'6b9d95c15bc50d1d509aba21529f7fc4653033c05bf2ccd5bdd8f718d111d01b','9094fe899b0f768602c856f347621ab03fabafcae35927e86b982ed68c4c8bc9','d432810859598cd17f2384c6624619ebceb5bd39155295d222f1273aa74c5840');
INSERT INTO "invocation" VALUES(8,'01a201b7-c68d-7df3-b645-8179ad1f3887','01a201b7-c68c-77a6-ac9d-7f0f48b5f8c5','0f15c3927e1641ea5d3119fd22bdd6a35dde26b379bfa67d282e52c2cb7802c6',1,0,'failed','timeout','no end in 60 s','["sysbench","cpu","run"]',NULL,1700000000.25,10000000000,12500000000,NULL,'048715e6e607872201947ea0e56ef0a6e77e460a7fd24c8f407bf9971b0a52d0','6b9d95c15bc50d1d509aba21529f7fc4653033c05bf2ccd5bdd8f718d111d01b','9094fe899b0f768602c856f347621ab03fabafcae35927e86b982ed68c4c8bc9',NULL);
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
INSERT INTO "invocation_metric" VALUES(1,1,90.0,1,0,90.0,90.0,90.0);
INSERT INTO "invocation_metric" VALUES(2,1,100.0,1,0,100.0,100.0,100.0);
INSERT INTO "invocation_metric" VALUES(3,1,101.0,1,0,101.0,101.0,101.0);
INSERT INTO "invocation_metric" VALUES(4,1,91.0,1,0,91.0,91.0,91.0);
INSERT INTO "invocation_metric" VALUES(5,1,100.0,1,0,100.0,100.0,100.0);
INSERT INTO "invocation_metric" VALUES(6,1,101.0,1,0,101.0,101.0,101.0);
INSERT INTO "invocation_metric" VALUES(7,2,0.49,80,7,39.001,0.002,0.993);
CREATE TABLE lease (
	machine TEXT NOT NULL,
	lease_id TEXT NOT NULL,
	run_id TEXT NOT NULL,
	host TEXT NOT NULL,
	holder TEXT NOT NULL,
	expires_at REAL NOT NULL,
	CONSTRAINT pk_lease PRIMARY KEY (machine)
)
 STRICT;
INSERT INTO "lease" VALUES('192.0.2.1:22','01a201b7-c68e-78ca-8123-58451a8c3c8c','01a201b7-c683-7781-a347-0c8741be1b92','h1','controller//1/1',1.79532514986210966112e+09);
CREATE TABLE metric (
	metric_pk INTEGER NOT NULL,
	metric_id TEXT NOT NULL,
	workload TEXT NOT NULL,
	name TEXT NOT NULL,
	unit TEXT NOT NULL,
	direction TEXT NOT NULL,
	is_headline INTEGER NOT NULL,
	description TEXT NOT NULL,
	CONSTRAINT pk_metric PRIMARY KEY (metric_pk),
	CONSTRAINT uq_metric_metric_id UNIQUE (metric_id)
)
 STRICT;
INSERT INTO "metric" VALUES(1,'39b19fb026d26fdcc41880c2fd4b09b5d6de0204dfe1a0728b6a8abe160df52b','sysbench','events_per_s','1/s','higher',1,'Events per second.');
INSERT INTO "metric" VALUES(2,'56ce82533f76da4a9b306468f0fe44dda99a9a1039040793ce338e482c5a184c','netperf','latency','ms','lower',0,'Time per event.');
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
	CONSTRAINT pk_run PRIMARY KEY (run_id),
	CONSTRAINT ck_run_status CHECK (status IN ('running', 'complete', 'partial', 'interrupted'))
)
 STRICT;
INSERT INTO "run" VALUES('01a201b7-c683-7781-a347-0c8741be1b92','demo','42','native','{"plan": "as text"}',12,'["perfctl","run","--suite","demo"]','["inventory/lab.yml"]','0.1.0','partial',1.79532515085474467277e+09,1.7953251508627593517e+09);
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
INSERT INTO "run_benchmark" VALUES('01a201b7-c683-7781-a347-0c8741be1b92','cpu-1','341e1a5c88a69fedee16799691fe4225e768a422714116ce3a52f6177c9f1559',0);
INSERT INTO "run_benchmark" VALUES('01a201b7-c683-7781-a347-0c8741be1b92','stream','883ae52d5c7e2d8e0b71e9bc266f62ee3e631614d249f18daa8a6ce483a040b4',1);
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
INSERT INTO "run_environment" VALUES('01a201b7-c683-7781-a347-0c8741be1b92','container','b6402b725c4f918da5b70643e88ae92a1a2bad66c4ddbd8890ea27da2dc4b851',1);
INSERT INTO "run_environment" VALUES('01a201b7-c683-7781-a347-0c8741be1b92','native','0f15c3927e1641ea5d3119fd22bdd6a35dde26b379bfa67d282e52c2cb7802c6',0);
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
INSERT INTO "run_host" VALUES('01a201b7-c683-7781-a347-0c8741be1b92','h1','d6d757bfcd5a46c0debcac4c61bc51fbae98fe890fa52ed70c338b9cb842909a');
INSERT INTO "run_host" VALUES('01a201b7-c683-7781-a347-0c8741be1b92','h2','bb9406cdb653ed40b0531b049e1b06c9ea70edb5b585ff7c673892d9417cd4c6');
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
INSERT INTO "sample" VALUES(1,1,0,0,90.0);
INSERT INTO "sample" VALUES(2,1,0,0,100.0);
INSERT INTO "sample" VALUES(3,1,0,0,101.0);
INSERT INTO "sample" VALUES(4,1,0,0,91.0);
INSERT INTO "sample" VALUES(5,1,0,0,100.0);
INSERT INTO "sample" VALUES(6,1,0,0,101.0);
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
INSERT INTO "series" VALUES(7,2,80,7,39.001,X'F4FDD478E926C13FB4C876BE9F1AEB3FA69BC420B072E83F52B81E85EB51D03FAE47E17A14AEDF3F23DBF97E6ABCDC3F77BE9F1A2FDDE43F736891ED7C3FE93FAAF1D24D6210B83F79E9263108AC9C3F8D976E1283C0EA3F83C0CAA145B6DB3FFCA9F1D24D62E83FFCA9F1D24D62603F7B14AE47E17ADC3FB4C876BE9F1AE73F1D5A643BDF4FCD3F3D0AD7A3703DEE3FA245B6F3FDD4EC3F5839B4C876BE9F3F9A9999999999993F1D5A643BDF4FE13F3F355EBA490CEE3FFCA9F1D24D62D83F2DB29DEFA7C6CB3F355EBA490C02DB3F1904560E2DB29D3FD122DBF97E6ACC3FD578E9263108DC3F5839B4C876BEDF3F6DE7FBA9F1D2CD3FC520B0726891CD3FD578E9263108CC3F713D0AD7A370DD3F8FC2F5285C8FD23F1B2FDD240681953F37894160E5D0EA3F986E1283C0CAE13F25068195438BE43F022B8716D9CEC73F2DB29DEFA7C6EF3F85EB51B81E85EB3F60E5D022DBF9BE3F1D5A643BDF4FD53FDF4F8D976E12E73F8D976E1283C0E63FC1CAA145B6F3ED3F355EBA490C02DB3F8FC2F5285C8FEA3F713D0AD7A370E53F3108AC1C5A64D33F37894160E5D0E23FD34D62105839EC3FDF4F8D976E12EB3F295C8FC2F528E03F0C022B8716D9E23FEC51B81E85EBA13FB4C876BE9F1ACF3F1B2FDD240681E93FE5D022DBF97EDA3FBE9F1A2FDD24C63FC520B0726891E13FE5D022DBF97EE63FC520B0726891E53F000000000000D83F7F6ABC749318DC3FA8C64B378941E03F4C37894160E5E83F79E9263108ACE03FF4FDD478E926D93F5C8FC2F5285CDF3FB81E85EB51B89E3F6ABC74931804A63FE5D022DBF97EE63FDBF97E6ABC74EF3F60E5D022DBF9E23F9EEFA7C64B37D93FC3F5285C8FC2C53FAAF1D24D6210E03F068195438B6CEF3F');
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
INSERT INTO "workload_version" VALUES('8a5cd7fe5ee9d484051eb52d9b03ee3ec0fa78781c3141a9c5c21e26f0d2c99c','sysbench','1.0.20','abababababababababababababababababababababababababababababababab');
INSERT INTO "workload_version" VALUES('d432810859598cd17f2384c6624619ebceb5bd39155295d222f1273aa74c5840','sysbench','1.0.20','abababababababababababababababababababababababababababababababab');
CREATE INDEX ix_environment_snapshot_run_id ON environment_snapshot (run_id);
CREATE INDEX ix_event_run_id ON event (run_id);
CREATE INDEX ix_host_snapshot_run_id ON host_snapshot (run_id);
CREATE VIEW v_run AS
SELECT
    run.run_id,
    run.suite,
    run.status,
    run.baseline,
    run.seed,
    strftime('%Y-%m-%dT%H:%M:%SZ', run.started_at, 'unixepoch') AS started,
    strftime('%Y-%m-%dT%H:%M:%SZ', run.ended_at, 'unixepoch') AS ended,
    run.ended_at - run.started_at AS duration_s,
    (SELECT count(*) FROM run_host WHERE run_host.run_id = run.run_id) AS hosts,
    run.planned_invocations,
    coalesce(tally.invocations, 0) AS invocations,
    coalesce(tally.ok, 0) AS ok,
    coalesce(tally.failed, 0) AS failed,
    coalesce(tally.skipped, 0) AS skipped,
    coalesce(tally.interrupted, 0) AS interrupted,
    run.perfctl_version
FROM run
LEFT JOIN (
    SELECT
        block.run_id,
        count(*) AS invocations,
        sum(invocation.status = 'ok') AS ok,
        sum(invocation.status = 'failed') AS failed,
        sum(invocation.status = 'skipped') AS skipped,
        sum(invocation.status = 'interrupted') AS interrupted
    FROM block
    JOIN invocation ON invocation.block_id = block.block_id
    GROUP BY block.run_id
) AS tally ON tally.run_id = run.run_id;
CREATE VIEW v_invocation AS
SELECT
    invocation.invocation_id,
    block.run_id,
    run.suite,
    block.benchmark,
    benchmark.workload,
    block.target,
    host.name AS host,
    peer.name AS peer,
    environment.name AS environment,
    block.block_index AS block,
    block.attempt,
    block.status AS block_status,
    invocation.replicate,
    invocation.position,
    invocation.status,
    invocation.reason,
    invocation.detail,
    invocation.exit_code,
    strftime('%Y-%m-%dT%H:%M:%SZ', invocation.started_at, 'unixepoch') AS started,
    (invocation.host_ended_ns - invocation.host_started_ns) / 1e9 AS duration_s,
    invocation.argv_json,
    invocation.stdout_sha256,
    invocation.stderr_sha256,
    invocation.fingerprint_id
FROM invocation
JOIN block ON block.block_id = invocation.block_id
JOIN run ON run.run_id = block.run_id
JOIN benchmark ON benchmark.benchmark_id = block.benchmark_id
JOIN environment ON environment.environment_id = invocation.environment_id
JOIN host ON host.host_id = block.host_id
LEFT JOIN host AS peer ON peer.host_id = block.peer_id;
CREATE VIEW v_value AS
SELECT
    invocation.invocation_id,
    block.run_id,
    block.benchmark,
    block.target,
    environment.name AS environment,
    block.block_index AS block,
    block.attempt,
    block.status AS block_status,
    invocation.replicate,
    invocation.status,
    metric.name AS metric,
    metric.unit,
    metric.direction,
    metric.is_headline,
    invocation_metric.value,
    invocation_metric.sample_count,
    invocation_metric.warmup_count,
    invocation_metric.value_sum,
    invocation_metric.minimum,
    invocation_metric.maximum,
    CASE WHEN series.packed IS NULL THEN 'rows' ELSE 'packed' END AS kept_as
FROM invocation_metric
JOIN invocation ON invocation.invocation_pk = invocation_metric.invocation_pk
JOIN metric ON metric.metric_pk = invocation_metric.metric_pk
JOIN block ON block.block_id = invocation.block_id
JOIN environment ON environment.environment_id = invocation.environment_id
LEFT JOIN series
    ON series.invocation_pk = invocation_metric.invocation_pk
    AND series.metric_pk = invocation_metric.metric_pk;
CREATE VIEW v_sample AS
SELECT
    invocation.invocation_id,
    block.run_id,
    block.benchmark,
    block.target,
    environment.name AS environment,
    block.block_index AS block,
    block.attempt,
    block.status AS block_status,
    invocation.replicate,
    invocation.status,
    metric.name AS metric,
    metric.unit,
    metric.direction,
    sample.sample_index,
    sample.is_warmup,
    sample.value
FROM sample
JOIN invocation ON invocation.invocation_pk = sample.invocation_pk
JOIN metric ON metric.metric_pk = sample.metric_pk
JOIN block ON block.block_id = invocation.block_id
JOIN environment ON environment.environment_id = invocation.environment_id;
COMMIT;
