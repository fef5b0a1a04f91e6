-- What was imported from other systems: the instant that the files of the first run describe, so that
-- a run that was cut short goes on with the same figures, and the same books come out.

CREATE TABLE imports (
    tenant_id uuid NOT NULL,
    -- SHA-256 over the files.
    content bytea NOT NULL,
    at timestamptz NOT NULL,
    started_at timestamptz NOT NULL,
    CONSTRAINT imports_pk PRIMARY KEY (tenant_id, content),
    CONSTRAINT imports_tenant_fk FOREIGN KEY (tenant_id) REFERENCES tenants (tenant_id),
    CONSTRAINT imports_content CHECK (octet_length(content) = 32)
);
