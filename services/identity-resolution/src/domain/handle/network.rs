//! Social networks: names are written with an @, as an address of the web, or bare.

use super::{InvalidHandle, spelling::without_scheme};

/// A social network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Network {
    /// Facebook and Messenger; ids there are numbers, and differ from page to page.
    Facebook,
    /// Instagram.
    Instagram,
    /// LinkedIn.
    Linkedin,
    /// Telegram.
    Telegram,
    /// TikTok.
    Tiktok,
    /// X, once Twitter.
    X,
    /// YouTube.
    Youtube,
}

impl Network {
    /// As handles write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Network::Facebook => "facebook",
            Network::Instagram => "instagram",
            Network::Linkedin => "linkedin",
            Network::Telegram => "telegram",
            Network::Tiktok => "tiktok",
            Network::X => "x",
            Network::Youtube => "youtube",
        }
    }

    /// Reads a name, also an old one.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "facebook" | "messenger" => Network::Facebook,
            "instagram" => Network::Instagram,
            "linkedin" => Network::Linkedin,
            "telegram" => Network::Telegram,
            "tiktok" => Network::Tiktok,
            "x" | "twitter" => Network::X,
            "youtube" => Network::Youtube,
            _ => return None,
        })
    }

    const fn hosts(self) -> &'static [&'static str] {
        match self {
            Network::Facebook => &["facebook.com", "fb.com", "m.me", "messenger.com"],
            Network::Instagram => &["instagram.com", "ig.me"],
            Network::Linkedin => &["linkedin.com"],
            Network::Telegram => &["t.me", "telegram.me"],
            Network::Tiktok => &["tiktok.com"],
            Network::X => &["x.com", "twitter.com"],
            Network::Youtube => &["youtube.com"],
        }
    }

    /// Somebody's name in the network in one spelling: no network tells names apart by case, but YouTube the ids of channels.
    ///
    /// # Errors
    /// When it cannot be one.
    pub(super) fn name(self, value: &str) -> Result<String, InvalidHandle> {
        let value = without_scheme(value.trim());
        let path = match value.split_once('/') {
            Some((host, path)) if self.owns(host) => path,
            Some(_) => return Err(InvalidHandle::Social),
            None => value,
        };
        // Pages of people without a name of their own.
        let id = path.strip_prefix("profile.php?id=");
        let path = id.map_or(path, |id| id.split('&').next().unwrap_or(id));
        let path = path.split(['?', '#']).next().unwrap_or(path);
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        let mut name = parts.next().unwrap_or_default();
        if ["in", "t", "user", "channel", "c"].contains(&name)
            && let Some(next) = parts.next()
        {
            name = next;
        }
        let is_channel_id = self == Network::Youtube && name.len() == 24 && name.starts_with("UC");
        let name = if is_channel_id {
            name.to_owned()
        } else {
            name.trim_start_matches('@').to_lowercase()
        };
        let ok = (1..=128).contains(&name.len())
            && name.chars().all(|c| c.is_alphanumeric() || "._-".contains(c))
            && parts.next().is_none();
        if ok { Ok(name) } else { Err(InvalidHandle::Social) }
    }

    /// Whether an address of the web is the network's, in any language.
    fn owns(self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        self.hosts()
            .iter()
            .any(|own| host == *own || host.strip_suffix(own).is_some_and(|sub| sub.ends_with('.')))
    }
}
