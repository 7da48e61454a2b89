//! The secrets that resources name.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use chrono::{DateTime, TimeDelta, Utc};
use trama_proto::{ids::TenantId, resources::SecretRef};

use crate::{Clock, Error, Kind};

/// For how long a file is believed: this is how soon a rotation is in force.
const FRESH: TimeDelta = TimeDelta::seconds(5);

/// Values that resources name but never hold.
#[derive(Clone)]
pub struct Secrets {
    dir: Option<PathBuf>,
    clock: Clock,
    cache: Arc<Mutex<Cache>>,
}

/// When each file was read, and what stood in it.
type Cache = HashMap<PathBuf, (DateTime<Utc>, Arc<str>)>;

impl Secrets {
    /// From a folder `<tenant>/<name>/<key>`, or variables `TRAMA_SECRET_<TENANT>_<NAME>_<KEY>`.
    pub fn new(dir: Option<PathBuf>, clock: Clock) -> Self {
        Self {
            dir,
            clock,
            cache: Arc::default(),
        }
    }

    /// The value to send with. A secret of several lines is one in rotation: all of them are accepted, the first is
    /// the one in use.
    ///
    /// # Errors
    /// See [`Secrets::get`].
    pub fn current(&self, tenant: &TenantId, secret: &SecretRef) -> Result<String, Error> {
        let all = self.get(tenant, secret)?;
        Ok(all.lines().next().unwrap_or_default().trim().to_owned())
    }

    /// The value; files are read again after some seconds, so that rotation needs no restart.
    ///
    /// # Errors
    /// When it is nowhere; the message says where it was looked for.
    pub fn get(&self, tenant: &TenantId, secret: &SecretRef) -> Result<Arc<str>, Error> {
        if let Some(dir) = &self.dir {
            let safe =
                |part: &str| !part.is_empty() && !part.contains(['/', '\\']) && part != ".." && part != ".";
            if !safe(&secret.name) || !safe(&secret.key) {
                return Err(Error::invalid(
                    "secretRef",
                    "name and key must be plain file names",
                ));
            }
            let path = dir.join(tenant.as_str()).join(&secret.name).join(&secret.key);
            let now = self.clock.now();
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((read_at, value)) = cache.get(&path)
                && now - *read_at < FRESH
            {
                return Ok(Arc::clone(value));
            }
            if let Ok(text) = std::fs::read_to_string(&path) {
                let value: Arc<str> = text.trim_end_matches(['\r', '\n']).into();
                cache.insert(path, (now, Arc::clone(&value)));
                return Ok(value);
            }
        }
        let variable = format!("TRAMA_SECRET_{tenant}_{}_{}", secret.name, secret.key)
            .to_uppercase()
            .replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        std::env::var(&variable).map(Into::into).map_err(|_| {
            Error::new(
                Kind::Precondition,
                format!("secret {}/{} of {tenant} is missing: no file in the secrets folder, no variable {variable}", secret.name, secret.key),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, path::Path, time::Duration};

    use super::*;

    /// As kubelet writes a mounted Secret: the files lie in a folder of their own, links lead to it, and one rename
    /// swaps them all.
    fn mount(dir: &Path, version: &str, value: &str) {
        fs::create_dir_all(dir.join(version)).unwrap();
        fs::write(dir.join(version).join("token"), value).unwrap();
        symlink(version, dir.join("..data_tmp")).unwrap();
        fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
        if !dir.join("token").exists() {
            symlink("..data/token", dir.join("token")).unwrap();
        }
    }

    #[test]
    fn a_rotated_secret_is_in_force_without_a_restart() {
        let clock = Clock::manual(DateTime::UNIX_EPOCH);
        let dir = std::env::temp_dir().join(format!("trama-secrets-{}", clock.new_id()));
        let mounted = dir.join("acme/provider");
        mount(&mounted, "..2026_11_22", "old\n");
        let secrets = Secrets::new(Some(dir.clone()), clock.clone());
        let (tenant, named) = (
            "acme".parse().unwrap(),
            SecretRef {
                name: "provider".into(),
                key: "token".into(),
            },
        );
        assert_eq!(secrets.current(&tenant, &named).unwrap(), "old");

        mount(&mounted, "..2026_11_23", "new\nold\n");
        clock.advance(Duration::from_secs(5));
        assert_eq!(secrets.current(&tenant, &named).unwrap(), "new");
        assert_eq!(
            &*secrets.get(&tenant, &named).unwrap(),
            "new\nold",
            "both are accepted until the old one is taken away"
        );
        fs::remove_dir_all(dir).unwrap();
    }
}
