//! Certificates for one run of the services apart: a CA that vouches for each of them, and for the story.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use chrono::{Datelike as _, TimeDelta};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use trama_platform::{
    Clock,
    auth::write_private,
    config::{RemoteTls, ServerTls},
};

/// Who vouches. Its key is only in our memory: nobody gets a certificate of it after us.
pub struct Authority {
    dir: PathBuf,
    certificate: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    clock: Clock,
}

/// What one service or client shows, and whom it trusts.
pub struct Papers {
    certificate: PathBuf,
    key: PathBuf,
    authority: PathBuf,
}

impl Authority {
    /// A new one, whose certificate is in the folder.
    pub fn make(dir: &Path, name: &str) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let clock = Clock::system();
        let mut params = params(&clock, name)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = dir.join(format!("{name}.crt"));
        write_private(&certificate, params.self_signed(&key)?.pem().as_bytes())?;
        Ok(Self {
            dir: dir.to_owned(),
            certificate,
            issuer: Issuer::new(params, key),
            clock,
        })
    }

    /// Papers for somebody on this machine.
    pub fn vouch_for(&self, name: &str) -> anyhow::Result<Papers> {
        let mut params = params(&self.clock, name)?;
        for place in [name, "127.0.0.1"] {
            params
                .subject_alt_names
                .extend(CertificateParams::new([place.to_owned()])?.subject_alt_names);
        }
        // Each serves, and most call others.
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let papers = Papers {
            certificate: self.dir.join(format!("{name}.crt")),
            key: self.dir.join(format!("{name}.key")),
            authority: self.certificate.clone(),
        };
        let signed = params.signed_by(&key, &self.issuer)?;
        write_private(&papers.certificate, signed.pem().as_bytes())?;
        write_private(&papers.key, key.serialize_pem().as_bytes())?;
        Ok(papers)
    }
}

impl Papers {
    /// For a door that lets in only those of the same CA.
    pub fn at_the_door(&self) -> ServerTls {
        ServerTls {
            cert: self.certificate.clone(),
            key: self.key.clone(),
            client_ca: Some(self.authority.clone()),
            client_optional: false,
        }
    }

    /// For calls to such doors.
    pub fn for_calls(&self) -> RemoteTls {
        RemoteTls {
            cert: Some(self.certificate.clone()),
            key: Some(self.key.clone()),
            ..self.without()
        }
    }

    /// For somebody who trusts the doors and has nothing to show.
    pub fn without(&self) -> RemoteTls {
        RemoteTls {
            ca: Some(self.authority.clone()),
            ..RemoteTls::default()
        }
    }

    /// For somebody who trusts the doors and shows these papers, of a CA that they do not know.
    pub fn shown_to(&self, others: &Self) -> RemoteTls {
        RemoteTls {
            ca: Some(others.authority.clone()),
            ..self.for_calls()
        }
    }
}

/// Valid for the days of a run.
fn params(clock: &Clock, name: &str) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    let day = |days: i64| -> anyhow::Result<_> {
        let date = (clock.now() + TimeDelta::days(days)).date_naive();
        let part = |n: u32| u8::try_from(n).context("a month or a day");
        Ok(rcgen::date_time_ymd(
            date.year(),
            part(date.month())?,
            part(date.day())?,
        ))
    };
    (params.not_before, params.not_after) = (day(-1)?, day(7)?);
    Ok(params)
}
