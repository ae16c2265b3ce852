DROP TABLE key_audits;
