ALTER TABLE api_keys DROP COLUMN burst, DROP COLUMN requests_per_second;
