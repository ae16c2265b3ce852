-- A key's own limit of requests, both or neither; NULL: the server's limit. 0 requests a second: none.
ALTER TABLE api_keys ADD COLUMN requests_per_second integer, ADD COLUMN burst integer;
