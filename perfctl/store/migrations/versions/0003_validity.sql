ALTER TABLE run ADD COLUMN thresholds_json TEXT;

ALTER TABLE invocation ADD COLUMN validity TEXT
	CONSTRAINT ck_invocation_validity CHECK (validity IN ('valid', 'flagged', 'invalid'));

ALTER TABLE invocation ADD COLUMN validity_json TEXT
	CONSTRAINT ck_invocation_validity_json CHECK ((validity IS NULL) = (validity_json IS NULL));
