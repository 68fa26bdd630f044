ALTER TABLE invocation ADD COLUMN vcpus INTEGER
	CONSTRAINT ck_invocation_vcpus CHECK (vcpus >= 1);

ALTER TABLE invocation ADD COLUMN boot_attempts INTEGER
	CONSTRAINT ck_invocation_boot_attempts CHECK (boot_attempts >= 1);
