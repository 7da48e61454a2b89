-- A withdrawal ends what waits to be confirmed, and nobody is asked to confirm without limit: both look by customer.
CREATE INDEX consent_confirmations_customer ON consent_confirmations (tenant, customer_id, requested_at);
