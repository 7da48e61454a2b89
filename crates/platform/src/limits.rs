//! How much one tenant, and one credential of it, may ask of us: so that nobody's loop takes away what others pay for.
//!
//! A bucket per tenant and one per credential, in the memory of this replica: n replicas let n times as much through. A
//! gRPC call that comes too soon is refused and told when to come again. A request at an HTTP door waits for its turn
//! first, because it may be a delivery of a provider that does not try again; only then it is refused with 429.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use trama_proto::ids::TenantId;

use crate::{
    Clock, Error, Kind, Principal,
    auth::CredentialSort,
    config::{LimitsConfig, Rate},
    resources::ResourceStore,
};

/// Buckets that are remembered; beyond, those that are full again are forgotten.
const REMEMBERED: usize = 20_000;
/// Whoever names a tenant that there is not; no tenant is called so.
const UNKNOWN: &str = "(unknown)";

/// Knows who asked how much.
#[derive(Clone)]
pub struct Limits(Arc<Inner>);

struct Inner {
    config: LimitsConfig,
    clock: Clock,
    buckets: Mutex<HashMap<Key, i64>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Tenant(String),
    Credential(String, CredentialSort, String),
    Http(String),
}

impl Key {
    const fn word(&self) -> &'static str {
        match self {
            Self::Tenant(_) => "tenant",
            Self::Credential(..) => "credential",
            Self::Http(_) => "http",
        }
    }
}

/// When the next one of these may go (generic cell rate algorithm): `full_at` is the moment at which the bucket is full
/// again. Returns how long to wait from `now`, and the bucket afterwards.
fn next(full_at: i64, now: i64, rate: Rate) -> (i64, i64) {
    #[expect(clippy::cast_possible_truncation, reason = "microseconds of a positive rate")]
    let each = ((1e6 / rate.per_second) as i64).max(1);
    let after = full_at.max(now).saturating_add(each);
    let wait = after - now - each.saturating_mul(i64::from(rate.burst.max(1)));
    (wait.max(0), after)
}

impl Limits {
    /// As configured.
    pub(crate) fn new(config: &LimitsConfig, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            config: config.clone(),
            clock,
            buckets: Mutex::default(),
        }))
    }

    /// Lets a call through or says when to come again. Services of the platform are not held up.
    ///
    /// # Errors
    /// `Exhausted`, with the time to wait.
    pub(crate) fn call(&self, principal: &Principal) -> Result<(), Error> {
        if principal.service {
            return Ok(());
        }
        let tenant = principal.tenant.as_str();
        let rates = self.0.config.of(tenant);
        let credential = match principal.credential.sort {
            // One caller has many tokens, one after the other.
            CredentialSort::Token => &principal.subject,
            CredentialSort::ApiKey | CredentialSort::Service | CredentialSort::Internal => {
                &principal.credential.id
            }
        };
        let wanted = [
            (Key::Tenant(tenant.to_owned()), rates.tenant),
            (
                Key::Credential(tenant.to_owned(), principal.credential.sort, credential.clone()),
                rates.credential,
            ),
        ];
        self.take(&wanted, Duration::ZERO, tenant).map(|_| ())
    }

    /// How long a request at an HTTP door has to wait.
    fn request(&self, tenant: &str) -> Result<Duration, Error> {
        let rates = self.0.config.of(tenant);
        let patience = Duration::from_millis(self.0.config.http_wait_ms);
        self.take(&[(Key::Http(tenant.to_owned()), rates.http)], patience, tenant)
    }

    /// From all buckets or from none.
    fn take(&self, wanted: &[(Key, Rate)], patience: Duration, tenant: &str) -> Result<Duration, Error> {
        let wanted: Vec<_> = wanted.iter().filter(|(_, rate)| rate.per_second > 0.0).collect();
        if wanted.is_empty() {
            return Ok(Duration::ZERO);
        }
        let now = self.0.clock.now().timestamp_micros();
        let patience = i64::try_from(patience.as_micros()).unwrap_or(i64::MAX);
        let mut buckets = self.0.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= REMEMBERED {
            buckets.retain(|_, full_at| *full_at > now);
        }
        let mut longest = 0;
        let mut after = Vec::with_capacity(wanted.len());
        for (key, rate) in wanted {
            let (wait, full_at) = next(buckets.get(key).copied().unwrap_or(now), now, *rate);
            let micros = Duration::from_micros(wait.unsigned_abs());
            if wait > patience {
                let labels = [("limit", key.word().to_owned()), ("tenant", tenant.to_owned())];
                metrics::counter!("trama_limited_total", &labels).increment(1);
                return Err(Error::new(
                    Kind::Exhausted,
                    format!("too much for this {}; come again later", key.word()),
                )
                .retry_after(micros));
            }
            longest = longest.max(wait);
            after.push((key.clone(), full_at));
        }
        buckets.extend(after);
        Ok(Duration::from_micros(longest.unsigned_abs()))
    }
}

/// What the HTTP doors need to know whose request it is.
#[derive(Clone)]
pub(crate) struct HttpLimits {
    pub limits: Limits,
    pub resources: ResourceStore,
}

/// Makes a request of a tenant wait for its turn. The tenant is the path parameter of that name; tenants that nobody has
/// configured anything for share one bucket, so that strangers cannot fill our memory.
pub(crate) async fn limit_http(
    State(HttpLimits { limits, resources }): State<HttpLimits>,
    parameters: axum::extract::RawPathParams,
    request: Request,
    next: Next,
) -> Response {
    let named = parameters
        .iter()
        .find(|(name, _)| *name == "tenant")
        .map(|(_, value)| value);
    let tenant = named.and_then(|name| name.parse::<TenantId>().ok());
    let snapshot = resources.snapshot();
    let known = tenant.as_ref().filter(|tenant| snapshot.tenant(tenant).is_some());
    match limits.request(known.map_or(UNKNOWN, TenantId::as_str)) {
        Ok(wait) => {
            if !wait.is_zero() {
                metrics::counter!("trama_http_waited_total").increment(1);
                tokio::time::sleep(wait).await;
            }
            next.run(request).await
        }
        Err(error) => error.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use proptest::prelude::*;

    use super::*;
    use crate::{auth::Credential, config::Rates};

    fn rate(per_second: f64, burst: u32) -> Rate {
        Rate { per_second, burst }
    }

    fn who(tenant: &str, subject: &str) -> Principal {
        Principal {
            tenant: tenant.parse().expect("a tenant"),
            subject: subject.into(),
            scopes: Vec::new(),
            service: false,
            credential: Credential {
                sort: CredentialSort::Token,
                id: String::new(),
            },
            origin: String::new(),
        }
    }

    fn limits(rates: Rates, tenants: &[(&str, Rates)]) -> (Limits, Clock) {
        let clock = Clock::manual(DateTime::UNIX_EPOCH);
        let config = LimitsConfig {
            tenant: rates.tenant,
            credential: rates.credential,
            http: rates.http,
            tenants: tenants.iter().map(|(name, r)| ((*name).to_owned(), *r)).collect(),
            http_wait_ms: 1_000,
        };
        (Limits::new(&config, clock.clone()), clock)
    }

    #[test]
    fn one_tenant_does_not_use_up_what_is_anothers_and_waiting_helps() {
        let rates = Rates {
            tenant: rate(10.0, 3),
            ..Rates::default()
        };
        let (limits, clock) = limits(rates, &[]);
        for n in 0..3 {
            limits
                .call(&who("acme", &format!("caller{n}")))
                .expect("within the burst");
        }
        let refused = limits.call(&who("acme", "carla")).expect_err("too much");
        assert_eq!(refused.kind(), Kind::Exhausted);
        assert_eq!(refused.wait(), Some(Duration::from_millis(100)));
        limits.call(&who("globex", "carla")).expect("somebody else");
        clock.advance(Duration::from_millis(100));
        limits.call(&who("acme", "carla")).expect("it is time");
        assert!(limits.call(&who("acme", "carla")).is_err());
    }

    #[test]
    fn one_credential_does_not_use_up_its_tenants_share_and_a_refusal_takes_nothing() {
        let rates = Rates {
            tenant: rate(1.0, 5),
            credential: rate(1.0, 2),
            ..Rates::default()
        };
        let (limits, _) = limits(rates, &[]);
        let calls = (0..50)
            .filter(|_| limits.call(&who("acme", "loop")).is_ok())
            .count();
        assert_eq!(calls, 2);
        let others = (0..50)
            .filter(|n| limits.call(&who("acme", &format!("a{n}"))).is_ok())
            .count();
        assert_eq!(others, 3);
        let mut service = who("acme", "loop");
        service.service = true;
        limits.call(&service).expect("a service is not held up");
    }

    #[test]
    fn a_tenant_may_have_rates_of_its_own() {
        let few = Rates {
            tenant: rate(1.0, 1),
            ..Rates::default()
        };
        let (limits, _) = limits(few, &[("big", Rates::default())]);
        assert!((0..100).all(|_| limits.call(&who("big", "x")).is_ok()));
        assert_eq!(
            (0..100)
                .filter(|_| limits.call(&who("acme", "x")).is_ok())
                .count(),
            1
        );
    }

    #[test]
    fn a_request_of_the_web_waits_before_it_is_refused() {
        let rates = Rates {
            http: rate(2.0, 1),
            ..Rates::default()
        };
        let (limits, _) = limits(rates, &[]);
        let waits: Vec<u128> = (0..3)
            .map_while(|_| limits.request("acme").ok())
            .map(|w| w.as_millis())
            .collect();
        assert_eq!(waits, [0, 500, 1_000]);
        assert_eq!(
            limits.request("acme").expect_err("too much").wait(),
            Some(Duration::from_millis(1_500))
        );
    }

    proptest! {
        #[test]
        fn in_any_stretch_of_time_no_more_goes_than_burst_and_rate(
            gaps in proptest::collection::vec(0_i64..400_000, 1..200), burst in 1_u32..10,
        ) {
            let rate = rate(10.0, burst);
            let (mut now, mut full_at) = (0, 0);
            let mut went: Vec<i64> = Vec::new();
            for gap in gaps {
                now += gap;
                let (wait, after) = next(full_at, now, rate);
                if wait == 0 {
                    full_at = after;
                    went.push(now);
                }
            }
            for (first, start) in went.iter().enumerate() {
                for (last, end) in went.iter().enumerate().skip(first) {
                    let most = i64::from(burst) + (end - start) / 100_000 + 1;
                    prop_assert!(i64::try_from(last - first).expect("few") < most);
                }
            }
        }
    }
}
