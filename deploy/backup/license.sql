-- 'timescale' on the community edition, 'apache' on the other.

SELECT coalesce(current_setting('timescaledb.license', true), '');
