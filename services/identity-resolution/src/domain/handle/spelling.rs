//! The one spelling of each kind of handle.

use super::InvalidHandle;

pub(super) fn email(value: &str) -> Result<String, InvalidHandle> {
    let value = value.trim().to_lowercase();
    let value = value.trim_end_matches('.');
    let (local, domain) = value.rsplit_once('@').ok_or(InvalidHandle::Email)?;
    let printable = |c: char| !c.is_whitespace() && !c.is_control();
    let domain_ok = !domain.is_empty()
        && domain
            .split('.')
            .all(|label| !label.is_empty() && label.chars().all(|c| c.is_alphanumeric() || c == '-'));
    let local_ok = (1..=64).contains(&local.len())
        && local
            .chars()
            .all(|c| printable(c) && !matches!(c, '@' | '<' | '>' | ',' | ';' | '(' | ')'));
    if local_ok && domain_ok && value.len() <= 254 {
        Ok(value.to_owned())
    } else {
        Err(InvalidHandle::Email)
    }
}

pub(super) fn phone(value: &str, country_code: &str) -> Result<String, InvalidHandle> {
    let value = value.trim();
    let value = value.strip_prefix("tel:").unwrap_or(value).trim();
    let international = value.starts_with('+') || value.starts_with("00");
    // `+44 (0)20 …`: the zero in brackets is for callers from inside only.
    let value = if international {
        value.replace("(0)", "")
    } else {
        value.to_owned()
    };
    let mut digits = String::with_capacity(value.len());
    for (position, c) in value.chars().enumerate() {
        match c {
            '0'..='9' => digits.push(c),
            '+' if position == 0 => {}
            ' ' | '-' | '.' | '(' | ')' | '/' | '\u{a0}' => {}
            _ => return Err(InvalidHandle::Phone),
        }
    }
    let number = if value.starts_with('+') {
        digits
    } else if let Some(rest) = digits.strip_prefix("00") {
        rest.to_owned()
    } else {
        // Italy dials the leading zero of landlines from abroad too; elsewhere it falls away.
        let national = if country_code == "39" {
            &digits[..]
        } else {
            digits.strip_prefix('0').unwrap_or(&digits)
        };
        if national.is_empty() {
            return Err(InvalidHandle::Phone);
        }
        format!("{country_code}{national}")
    };
    if (6..=15).contains(&number.len()) {
        Ok(format!("+{number}"))
    } else {
        Err(InvalidHandle::Phone)
    }
}

pub(super) fn whatsapp(value: &str) -> Result<String, InvalidHandle> {
    let value = value.trim();
    let value = value.strip_prefix("whatsapp:").unwrap_or(value).trim();
    let bare: String = value
        .chars()
        .filter(|c| !matches!(c, '+' | ' ' | '-' | '(' | ')'))
        .collect();
    if !bare.is_empty() && bare.bytes().all(|b| b.is_ascii_digit()) {
        return if (6..=15).contains(&bare.len()) {
            Ok(bare)
        } else {
            Err(InvalidHandle::Whatsapp)
        };
    }
    let is_user_id = (1..=128).contains(&value.len())
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b));
    if is_user_id {
        Ok(value.to_owned())
    } else {
        Err(InvalidHandle::Whatsapp)
    }
}

pub(super) fn plain(value: &str) -> Result<String, InvalidHandle> {
    let value = value.trim();
    let ok = (1..=256).contains(&value.chars().count()) && !value.chars().any(char::is_control);
    if ok {
        Ok(value.to_owned())
    } else {
        Err(InvalidHandle::Value)
    }
}

/// Ids of devices are hexadecimal or base 64 without case; who forbids being followed has the id that consists of zeros.
pub(super) fn device(value: &str) -> Result<String, InvalidHandle> {
    let value = value.trim().to_ascii_lowercase();
    let ok = (8..=128).contains(&value.len())
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        && value.bytes().any(|b| !b"0-_".contains(&b));
    if ok { Ok(value) } else { Err(InvalidHandle::Device) }
}

/// Tokens are case-sensitive, and so are the endpoints of web push.
pub(super) fn push(value: &str) -> Result<String, InvalidHandle> {
    let value = value.trim();
    if (16..=1_024).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(value.to_owned())
    } else {
        Err(InvalidHandle::Push)
    }
}

/// Numbers of cards are printed in groups and typed in without.
pub(super) fn loyalty(value: &str) -> Result<String, InvalidHandle> {
    let bare: String = value
        .trim()
        .chars()
        .filter(|c| !matches!(c, ' ' | '-' | '.' | '/' | '\u{a0}'))
        .map(|c| c.to_ascii_uppercase())
        .collect();
    if (4..=32).contains(&bare.len()) && bare.bytes().all(|b| b.is_ascii_alphanumeric()) {
        Ok(bare)
    } else {
        Err(InvalidHandle::Loyalty)
    }
}

/// `site/name`: the name alone says nothing, and sites write it in their own way.
pub(super) fn review(value: &str) -> Result<String, InvalidHandle> {
    let value = without_scheme(value.trim()).to_lowercase();
    let (site, name) = value.split_once('/').ok_or(InvalidHandle::Review)?;
    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    let site = site.trim();
    let site_ok = (1..=64).contains(&site.len())
        && site
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b));
    let name_ok = (1..=128).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    if site_ok && name_ok && !name.starts_with('/') {
        Ok(format!("{site}/{name}"))
    } else {
        Err(InvalidHandle::Review)
    }
}

/// An address of the web without what every one begins with.
pub(super) fn without_scheme(value: &str) -> &str {
    let mut value = value;
    for start in ["https://", "http://", "www."] {
        let head = value.get(..start.len());
        if head.is_some_and(|head| head.eq_ignore_ascii_case(start)) {
            value = &value[start.len()..];
        }
    }
    value
}
