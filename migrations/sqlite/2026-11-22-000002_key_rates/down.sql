ALTER TABLE api_keys DROP COLUMN burst;
ALTER TABLE api_keys DROP COLUMN requests_per_second;
