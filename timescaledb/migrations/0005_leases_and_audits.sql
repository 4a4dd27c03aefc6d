-- Whose lease it is, and how far each symbol was compared with the exchange's own record.

ALTER TABLE data_quality_logs ADD COLUMN lease_owner text;
COMMENT ON COLUMN data_quality_logs.lease_owner IS 'The worker that holds the lease; another''s renewal or settlement changes nothing.';

ALTER TABLE symbols ADD COLUMN audited_until timestamptz;
COMMENT ON COLUMN symbols.audited_until IS 'Days before this midnight were compared with the exchange''s own record; null: none yet.';
