ALTER TABLE invocation ADD COLUMN accelerator TEXT
	CONSTRAINT ck_invocation_accelerator CHECK (accelerator IN ('kvm', 'tcg'));

ALTER TABLE metric ADD COLUMN show_difference INTEGER DEFAULT 0 NOT NULL;

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
