//! From where somebody calls: the address of the connection or, behind proxies that are trusted, the one that they name.

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;

/// Knows whose word is taken for where a call comes from.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    trusted: Arc<[IpNet]>,
}

impl Origins {
    /// With the proxies that are trusted.
    pub fn new(trusted: &[IpNet]) -> Self {
        Self {
            trusted: trusted.into(),
        }
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|net| net.contains(&address))
    }

    /// The address of the caller. `x-forwarded-for` grows at its end: from there, the first who is none of our proxies is
    /// the caller. What they themselves put in front of it is worth nothing.
    pub fn of(&self, headers: &http::HeaderMap, peer: Option<IpAddr>) -> Option<IpAddr> {
        let mut origin = peer?.to_canonical();
        let named: Vec<&str> = headers
            .get_all("x-forwarded-for")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .collect();
        for name in named.iter().rev() {
            if !self.trusts(origin) {
                break;
            }
            let Some(address) = address(name) else { break };
            origin = address;
        }
        Some(origin)
    }
}

/// `203.0.113.7`, `203.0.113.7:4711`, `2001:db8::1`, `[2001:db8::1]:4711`.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|t| t.split(']').next());
    text.parse::<IpAddr>()
        .ok()
        .or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|s| s.ip()))
        .or_else(|| bare.and_then(|b| b.parse().ok()))
        .map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(trusted: &[&str], peer: &str, forwarded: &[&str]) -> String {
        let trusted: Vec<IpNet> = trusted.iter().map(|t| t.parse().expect("a net")).collect();
        let mut headers = http::HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().expect("a value"));
        }
        let peer = peer.parse().expect("an address");
        let origin = Origins::new(&trusted).of(&headers, Some(peer));
        origin.expect("a peer").to_string()
    }

    #[test]
    fn who_is_not_trusted_cannot_say_where_they_are() {
        assert_eq!(origin(&[], "198.51.100.9", &["203.0.113.7"]), "198.51.100.9");
        assert_eq!(
            origin(&["10.0.0.0/8"], "198.51.100.9", &["203.0.113.7"]),
            "198.51.100.9"
        );
    }

    #[test]
    fn the_first_before_our_proxies_is_the_caller() {
        let ours = &["10.0.0.0/8", "fd00::/8"];
        assert_eq!(origin(ours, "10.1.1.1", &["203.0.113.7"]), "203.0.113.7");
        // Forged by the caller, then added to by two proxies.
        assert_eq!(
            origin(ours, "10.1.1.1", &["1.1.1.1, 203.0.113.7, 10.2.2.2"]),
            "203.0.113.7"
        );
        assert_eq!(
            origin(ours, "10.1.1.1", &["1.1.1.1", "203.0.113.7"]),
            "203.0.113.7"
        );
        assert_eq!(origin(ours, "fd00::1", &["[2001:db8::1]:443"]), "2001:db8::1");
        assert_eq!(origin(ours, "::ffff:10.1.1.1", &["203.0.113.7:1"]), "203.0.113.7");
    }

    #[test]
    fn without_words_or_with_junk_it_is_the_last_one_known() {
        assert_eq!(origin(&["10.0.0.0/8"], "10.1.1.1", &[]), "10.1.1.1");
        assert_eq!(origin(&["10.0.0.0/8"], "10.1.1.1", &["unknown"]), "10.1.1.1");
    }
}
