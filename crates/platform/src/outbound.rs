//! The one client for calls to the outside: no private address unless allowed, no redirect that is not checked,
//! no body without a limit.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use reqwest::{
    Client, Method, RequestBuilder,
    dns::{Addrs, Name, Resolve, Resolving},
};
use url::{Host, Url};

use crate::{Error, Kind, config::OutboundConfig};

/// Calls to the outside.
#[derive(Clone)]
pub struct Outbound {
    client: Client,
    allowed: Arc<[IpAddr]>,
    max_body: usize,
}

impl Outbound {
    /// With the guard in place.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    #[expect(clippy::disallowed_methods, reason = "this is the guarded client")]
    pub fn new(config: &OutboundConfig) -> Result<Self, Error> {
        crate::install_crypto();
        let allowed: Arc<[IpAddr]> = config.allow_addresses.clone().into();
        let client = Client::builder()
            .timeout(Duration::from_millis(config.timeout_ms))
            .connect_timeout(Duration::from_millis(config.timeout_ms.min(5_000)))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("trama/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(Arc::new(Guard {
                allowed: Arc::clone(&allowed),
            }))
            .build()
            .map_err(Error::internal)?;
        Ok(Self {
            client,
            allowed,
            max_body: config.max_body_bytes,
        })
    }

    /// A request to a checked URL. Redirects are not followed.
    ///
    /// # Errors
    /// When the URL is not one that may be called.
    pub fn request(&self, method: Method, url: &str) -> Result<RequestBuilder, Error> {
        let url = self.check(url)?;
        Ok(self.client.request(method, url))
    }

    /// Fetches a file, following at most three redirects; `authorization` is dropped when the host changes.
    ///
    /// # Errors
    /// `Invalid` when the URL, host or size is not allowed or the server says no; `Unavailable` when it is away.
    pub async fn fetch(
        &self,
        url: &str,
        authorization: Option<&str>,
        hosts: &[String],
        max_bytes: usize,
    ) -> Result<Bytes, Error> {
        let mut url = self.check(url)?;
        let first_host = url.host_str().map(str::to_owned);
        for _ in 0..=3 {
            let host = url.host_str().unwrap_or_default();
            if !hosts.is_empty() && !hosts.iter().any(|h| h == host) {
                return Err(Error::new(
                    Kind::Invalid,
                    format!("host {host} is not one that files may come from"),
                ));
            }
            let mut request = self.client.get(url.clone());
            if let Some(value) = authorization
                && url.host_str() == first_host.as_deref()
            {
                request = request.header(http::header::AUTHORIZATION, value);
            }
            let response = request.send().await.map_err(|e| away(&e))?;
            let status = response.status();
            if status.is_redirection() {
                let location = response
                    .headers()
                    .get(http::header::LOCATION)
                    .and_then(|l| l.to_str().ok())
                    .ok_or_else(|| Error::new(Kind::Invalid, "redirect without location"))?;
                let next = url
                    .join(location)
                    .map_err(|e| Error::new(Kind::Invalid, "bad redirect").because(e))?;
                url = self.check(next.as_str())?;
                continue;
            }
            if status.is_server_error() || status == http::StatusCode::TOO_MANY_REQUESTS {
                return Err(Error::new(
                    Kind::Unavailable,
                    format!("the server answered {status}"),
                ));
            }
            if !status.is_success() {
                return Err(Error::new(Kind::Invalid, format!("the server answered {status}")));
            }
            return read_limited(response, max_bytes.min(self.max_body)).await;
        }
        Err(Error::new(Kind::Invalid, "too many redirects"))
    }

    /// Fetches a small file.
    ///
    /// # Errors
    /// See [`Outbound::fetch`].
    pub async fn get_bytes(&self, url: &str, max_bytes: usize) -> Result<Bytes, Error> {
        self.fetch(url, None, &[], max_bytes).await
    }

    fn check(&self, url: &str) -> Result<Url, Error> {
        let url = Url::parse(url).map_err(|e| Error::new(Kind::Invalid, "not a URL").because(e))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Error::new(Kind::Invalid, "only http and https are called"));
        }
        let literal = match url.host() {
            Some(Host::Ipv4(ip)) => Some(IpAddr::V4(ip)),
            Some(Host::Ipv6(ip)) => Some(IpAddr::V6(ip)),
            Some(Host::Domain(_)) => None,
            None => return Err(Error::new(Kind::Invalid, "a URL without host")),
        };
        match literal {
            Some(ip) if !permitted(ip, &self.allowed) => Err(Error::new(
                Kind::Invalid,
                "private addresses are not called; see outbound.allow_addresses",
            )),
            _ => Ok(url),
        }
    }
}

/// Reads a body up to a limit.
///
/// # Errors
/// `Invalid` when it is larger.
pub async fn read_limited(mut response: reqwest::Response, max_bytes: usize) -> Result<Bytes, Error> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| away(&e))? {
        if body.len() + chunk.len() > max_bytes {
            return Err(Error::new(
                Kind::Invalid,
                format!("larger than {max_bytes} bytes"),
            ));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn away(error: &reqwest::Error) -> Error {
    // Its Display may hold a URL with a token in it.
    let what = if error.is_timeout() {
        "timed out"
    } else {
        "cannot be reached"
    };
    Error::new(Kind::Unavailable, format!("the server {what}"))
}

struct Guard {
    allowed: Arc<[IpAddr]>,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let allowed = Arc::clone(&self.allowed);
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            // The connection goes to exactly the addresses that were checked.
            let good: Vec<SocketAddr> = found.filter(|a| permitted(a.ip(), &allowed)).collect();
            if good.is_empty() {
                return Err("every address of this host is private".into());
            }
            Ok(Box::new(good.into_iter()) as Addrs)
        })
    }
}

fn permitted(ip: IpAddr, allowed: &[IpAddr]) -> bool {
    allowed.contains(&ip) || is_public(ip)
}

fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_broadcast()
                || ip.is_documentation()
                || ip.is_unspecified()
                || ip.is_multicast()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && (b == 18 || b == 19)))
        }
        IpAddr::V6(ip) => {
            if let Some(v4) = ip.to_ipv4_mapped() {
                return is_public(IpAddr::V4(v4));
            }
            let first = ip.segments()[0];
            // Only global unicast, without documentation, 6to4 and Teredo, which can hide a private IPv4 address.
            (first & 0xe000) == 0x2000
                && first != 0x2002
                && !(first == 0x2001 && (ip.segments()[1] == 0xdb8 || ip.segments()[1] == 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_refused_in_every_spelling() {
        let outbound = Outbound::new(&OutboundConfig::default()).expect("a client");
        for url in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://[::1]/",
            "http://[::ffff:10.0.0.1]/",
            "http://169.254.169.254/latest",
            "http://192.168.1.1/",
            "http://0.0.0.0/",
            "http://[fd00::1]/",
            "file:///etc/passwd",
        ] {
            assert!(
                outbound.request(Method::GET, url).is_err(),
                "{url} was let through"
            );
        }
        assert!(outbound.request(Method::GET, "https://93.184.216.34/").is_ok());
    }
}
