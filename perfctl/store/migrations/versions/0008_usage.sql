ALTER TABLE invocation ADD COLUMN user_s REAL
	CONSTRAINT ck_invocation_user_s CHECK (user_s >= 0);

ALTER TABLE invocation ADD COLUMN system_s REAL
	CONSTRAINT ck_invocation_system_s CHECK (system_s >= 0);

ALTER TABLE invocation ADD COLUMN max_rss_bytes INTEGER
	CONSTRAINT ck_invocation_max_rss_bytes CHECK (max_rss_bytes >= 0);

ALTER TABLE invocation ADD COLUMN minor_faults INTEGER
	CONSTRAINT ck_invocation_minor_faults CHECK (minor_faults >= 0);

ALTER TABLE invocation ADD COLUMN major_faults INTEGER
	CONSTRAINT ck_invocation_major_faults CHECK (major_faults >= 0);

ALTER TABLE invocation ADD COLUMN voluntary_switches INTEGER
	CONSTRAINT ck_invocation_voluntary_switches CHECK (voluntary_switches >= 0);

ALTER TABLE invocation ADD COLUMN involuntary_switches INTEGER
	CONSTRAINT ck_invocation_involuntary_switches CHECK (involuntary_switches >= 0);

ALTER TABLE invocation ADD COLUMN usage_source TEXT
	CONSTRAINT ck_invocation_usage_source CHECK (usage_source IN ('wait4', 'cgroup'));

ALTER TABLE invocation ADD COLUMN usage_missing TEXT;
