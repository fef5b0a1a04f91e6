-- What the payment provider tells of payments: their state, the events it comes from, and the
-- payments that are ours and could not be credited. Keyed by tenant and payment, never by pool: a
-- payment may be refunded before it is known where its credits go. Amounts are in the currency's
-- smallest unit.

CREATE TABLE payments (
    tenant_id uuid NOT NULL,
    payment_reference text NOT NULL,
    -- The charge that the payment was made with, for events that name nothing else.
    charge_id text,
    -- What was charged, as the charge says it, and as the checkout session does.
    charge_amount bigint,
    session_amount bigint,
    -- What was refunded by now.
    refunded bigint NOT NULL,
    -- Goes up with every change of the state, disputes included; settled is what the purchase knows.
    version bigint NOT NULL,
    settled_version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT payments_pk PRIMARY KEY (tenant_id, payment_reference),
    CONSTRAINT payments_amounts CHECK (
        charge_amount >= 0 AND session_amount >= 0 AND refunded >= 0
    ),
    CONSTRAINT payments_versions CHECK (settled_version <= version)
);

CREATE INDEX payments_of_charge ON payments (tenant_id, charge_id) WHERE charge_id IS NOT NULL;
CREATE INDEX payments_unsettled ON payments (tenant_id, payment_reference)
    WHERE version > settled_version;

CREATE TABLE payment_disputes (
    tenant_id uuid NOT NULL,
    dispute_id text NOT NULL,
    payment_reference text NOT NULL,
    amount bigint NOT NULL,
    -- `won` and `lost` are final.
    status text NOT NULL,
    CONSTRAINT payment_disputes_pk PRIMARY KEY (tenant_id, dispute_id),
    CONSTRAINT payment_disputes_payment_fk FOREIGN KEY (tenant_id, payment_reference)
        REFERENCES payments (tenant_id, payment_reference),
    CONSTRAINT payment_disputes_amount CHECK (amount >= 0),
    CONSTRAINT payment_disputes_status CHECK (status IN ('open', 'won', 'lost'))
);

CREATE INDEX payment_disputes_of_payment ON payment_disputes (tenant_id, payment_reference);

-- Events that were taken in. One that could not be done yet keeps its text until it is.
CREATE TABLE payment_events (
    tenant_id uuid NOT NULL,
    event_id text NOT NULL,
    payment_reference text NOT NULL,
    -- `excepted` is tried again when it is delivered again.
    status text NOT NULL,
    payload text,
    attempts integer NOT NULL,
    -- When to try again what is pending.
    next_attempt_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    CONSTRAINT payment_events_pk PRIMARY KEY (tenant_id, event_id),
    CONSTRAINT payment_events_status CHECK (status IN ('pending', 'done', 'excepted')),
    CONSTRAINT payment_events_payload CHECK ((payload IS NOT NULL) = (status = 'pending'))
);

CREATE INDEX payment_events_pending ON payment_events (next_attempt_at)
    WHERE status = 'pending';

-- Payments that are ours and could not be credited: somebody has to look at them.
CREATE TABLE payment_exceptions (
    tenant_id uuid NOT NULL,
    exception_id uuid NOT NULL,
    payment_reference text NOT NULL,
    -- Why, as a stable word.
    reason text NOT NULL,
    -- What the payment said, as it said it.
    pool_text text,
    credits_text text,
    checkout_text text,
    user_id text,
    amount_cents bigint,
    currency text,
    event_id text NOT NULL,
    paid_at timestamptz NOT NULL,
    status text NOT NULL,
    created_at timestamptz NOT NULL,
    -- How it was resolved, by which key, and to where the payment went or why nowhere.
    resolved_at timestamptz,
    resolved_by uuid,
    resolved_pool text,
    resolved_credits bigint,
    resolved_reason text,
    CONSTRAINT payment_exceptions_pk PRIMARY KEY (tenant_id, exception_id),
    CONSTRAINT payment_exceptions_payment UNIQUE (tenant_id, payment_reference),
    CONSTRAINT payment_exceptions_status CHECK (status IN ('open', 'credited', 'dismissed')),
    CONSTRAINT payment_exceptions_resolved CHECK ((resolved_at IS NULL) = (status = 'open'))
);

CREATE INDEX payment_exceptions_of_tenant
    ON payment_exceptions (tenant_id, created_at DESC, exception_id DESC);
