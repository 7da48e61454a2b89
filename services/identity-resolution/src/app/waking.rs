//! Which timer wakes which use case.

use trama_platform::{Error, Tx, timers::Timer};
use trama_proto::ids::CustomerId;

use super::{App, consenting, importing, privacy, profiles};

impl App {
    /// Works a timer in.
    ///
    /// # Errors
    /// When it is of a kind that nobody arms, or what it wakes fails.
    pub async fn wake(&self, tx: &mut Tx, timer: &Timer) -> Result<(), Error> {
        let tenant = &timer.tenant;
        // Keys are an id, with a moment behind it where one id has several timers.
        let id = timer.key.split(' ').next().unwrap_or_default();
        match timer.kind.as_str() {
            consenting::TIMER => {
                let id: CustomerId = id.parse()?;
                self.project_consents(tx, tenant, &[id]).await.map(|_| ())
            }
            importing::TIMER => {
                let id = id
                    .parse()
                    .map_err(|_| Error::internal("an import's timer without its id"))?;
                self.work_import(tx, tenant, id).await
            }
            profiles::ENTITLEMENT_TIMER => self.put_in_force(tx, tenant, id.parse()?).await,
            profiles::SEGMENTS_TIMER => self.walk_segments(tx, tenant).await,
            privacy::TIMER => self.expire_export(tx, timer).await,
            profiles::FORGET_TIMER => self.forget_access(tx, tenant).await,
            other => Err(Error::internal(format!("no timer of kind {other} is armed here"))),
        }
    }
}
