//! Places at which a debug build can be told to die, so that tests can kill a real process between two steps.
//!
//! `TRAMA_FAILPOINT=stage.committed:3` aborts the process the third time it passes that point.

/// Passes a named point.
#[inline]
pub fn hit(name: &str) {
    #[cfg(debug_assertions)]
    armed::hit(name);
    #[cfg(not(debug_assertions))]
    let _ = name;
}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    };

    static ARMED: OnceLock<Option<(String, AtomicU32)>> = OnceLock::new();

    pub fn hit(name: &str) {
        let armed = ARMED.get_or_init(|| {
            let setting = std::env::var("TRAMA_FAILPOINT").ok()?;
            let (point, count) = setting.rsplit_once(':').unwrap_or((&setting, "1"));
            Some((point.to_owned(), AtomicU32::new(count.parse().ok()?)))
        });
        if let Some((point, left)) = armed
            && point == name
            && left.fetch_sub(1, Ordering::SeqCst) == 1
        {
            std::process::abort();
        }
    }
}
