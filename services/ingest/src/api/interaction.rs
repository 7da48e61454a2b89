//! What an integrator may hand in.

use trama_platform::Error;
use trama_proto::{
    common::v1::{CallState, Direction, Handle, Interaction, InteractionKind, Trust},
    time::from_wire,
};

/// Checks an interaction and fills in what may be left out.
///
/// # Errors
/// Names the field.
pub fn check(interaction: Option<Interaction>) -> Result<Interaction, Error> {
    let mut interaction = interaction.ok_or_else(|| Error::invalid("interaction", "is required"))?;
    check_text("interaction.provider_id", &interaction.provider_id, 1, 255)?;
    check_text(
        "interaction.conversation_key",
        &interaction.conversation_key,
        0,
        255,
    )?;
    check_text("interaction.display_name", &interaction.display_name, 0, 255)?;
    check_text("interaction.our_address", &interaction.our_address, 0, 255)?;
    check_text("interaction.subject", &interaction.subject, 0, 998)?;
    check_text("interaction.text", &interaction.text, 0, 64 * 1024)?;
    check_text("interaction.in_reply_to", &interaction.in_reply_to, 0, 998)?;
    check_text("interaction.language", &interaction.language, 0, 35)?;
    check_text("interaction.author", &interaction.author, 0, 128)?;
    if interaction.revision < 0 {
        return Err(Error::invalid("interaction.revision", "must not be negative"));
    }
    let party = interaction
        .party
        .as_mut()
        .ok_or_else(|| Error::invalid("interaction.party", "is required"))?;
    check_handle("interaction.party", party)?;
    if interaction.also_known_as.len() > 20 {
        return Err(Error::invalid("interaction.also_known_as", "at most 20"));
    }
    for (position, handle) in interaction.also_known_as.iter_mut().enumerate() {
        check_handle(&format!("interaction.also_known_as[{position}]"), handle)?;
    }
    check_kind(&mut interaction)?;
    interaction.direction = match Direction::try_from(interaction.direction) {
        Ok(Direction::Unspecified | Direction::Inbound) => Direction::Inbound.into(),
        Ok(Direction::Outbound) => Direction::Outbound.into(),
        Ok(Direction::Internal) | Err(_) => {
            return Err(Error::invalid(
                "interaction.direction",
                "must be INBOUND or OUTBOUND",
            ));
        }
    };
    if !interaction.attachments.is_empty() {
        return Err(Error::invalid(
            "interaction.attachments",
            "files cannot be handed in this way yet",
        ));
    }
    if interaction.occurred_at.is_some() && from_wire(interaction.occurred_at.as_ref()).is_none() {
        return Err(Error::invalid("interaction.occurred_at", "is out of range"));
    }
    if let Some(login) = &interaction.login {
        check_text("interaction.login.subject", &login.subject, 1, 255)?;
        check_text("interaction.login.method", &login.method, 1, 63)?;
        if from_wire(login.expires_at.as_ref()).is_none() {
            return Err(Error::invalid("interaction.login.expires_at", "is required"));
        }
    }
    Ok(interaction)
}

fn check_kind(interaction: &mut Interaction) -> Result<(), Error> {
    let kind = InteractionKind::try_from(interaction.kind)
        .map_err(|_| Error::invalid("interaction.kind", "is unknown"))?;
    match kind {
        InteractionKind::Unspecified | InteractionKind::Message => {
            if interaction.text.trim().is_empty() {
                return Err(Error::invalid("interaction.text", "is required for a message"));
            }
            interaction.kind = InteractionKind::Message.into();
        }
        InteractionKind::Call => {
            let call = interaction
                .call
                .as_ref()
                .ok_or_else(|| Error::invalid("interaction.call", "is required for a call"))?;
            if matches!(
                CallState::try_from(call.state),
                Ok(CallState::Unspecified) | Err(_)
            ) {
                return Err(Error::invalid("interaction.call.state", "is required"));
            }
            if call.duration_seconds < 0 {
                return Err(Error::invalid(
                    "interaction.call.duration_seconds",
                    "must not be negative",
                ));
            }
        }
        InteractionKind::Reaction => {
            if interaction.in_reply_to.is_empty() {
                return Err(Error::invalid(
                    "interaction.in_reply_to",
                    "is required for a reaction",
                ));
            }
        }
        InteractionKind::SurveyAnswer | InteractionKind::Note => {
            return Err(Error::invalid(
                "interaction.kind",
                "must be MESSAGE, CALL or REACTION",
            ));
        }
    }
    Ok(())
}

fn check_handle(field: &str, handle: &mut Handle) -> Result<(), Error> {
    let kind_is_word = !handle.kind.is_empty()
        && handle.kind.len() <= 32
        && handle
            .kind
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if !kind_is_word {
        return Err(Error::invalid(
            format!("{field}.kind"),
            "must be 1 to 32 of a-z, 0-9 and _, such as `email`",
        ));
    }
    check_text(&format!("{field}.value"), &handle.value, 1, 255)?;
    let trust =
        Trust::try_from(handle.trust).map_err(|_| Error::invalid(format!("{field}.trust"), "is unknown"))?;
    match (handle.kind.as_str(), trust) {
        ("email", _) if !handle.value.contains('@') => {
            return Err(Error::invalid(format!("{field}.value"), "must be a mail address"));
        }
        ("email", _) => handle.value = handle.value.trim().to_lowercase(),
        _ => {}
    }
    if trust == Trust::Unspecified {
        handle.trust = Trust::Observed.into();
    }
    Ok(())
}

fn check_text(field: &str, text: &str, least: usize, most: usize) -> Result<(), Error> {
    if text.len() < least {
        return Err(Error::invalid(field, "is required"));
    }
    if text.len() > most {
        return Err(Error::invalid(field, format!("at most {most} bytes")));
    }
    if text.contains('\0') {
        return Err(Error::invalid(field, "must not hold a NUL character"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Interaction {
        Interaction {
            provider_id: "kiosk-1".into(),
            text: "ciao".into(),
            party: Some(Handle {
                kind: "email".into(),
                value: "Anna@Example.com".into(),
                trust: 0,
            }),
            ..Interaction::default()
        }
    }

    #[test]
    fn what_may_be_left_out_is_filled_in() {
        let i = check(Some(good())).expect("good");
        assert_eq!(
            (i.kind(), i.direction()),
            (InteractionKind::Message, Direction::Inbound)
        );
        let party = i.party.expect("party");
        assert_eq!(
            (party.value.as_str(), party.trust()),
            ("anna@example.com", Trust::Observed)
        );
    }

    #[test]
    fn every_field_is_checked_and_named() {
        type Spoil = fn(&mut Interaction);
        let cases: [(&str, Spoil); 9] = [
            ("interaction.provider_id", |i| i.provider_id.clear()),
            ("interaction.text", |i| i.text = " ".into()),
            ("interaction.text", |i| i.text = "a\0".into()),
            ("interaction.party", |i| i.party = None),
            ("interaction.party.kind", |i| {
                i.party.as_mut().unwrap().kind = "E-Mail".into()
            }),
            ("interaction.party.value", |i| {
                i.party.as_mut().unwrap().value = "nobody".into()
            }),
            ("interaction.kind", |i| i.kind = InteractionKind::Note.into()),
            ("interaction.call", |i| i.kind = InteractionKind::Call.into()),
            ("interaction.direction", |i| i.direction = 77),
        ];
        for (field, spoil) in cases {
            let mut interaction = good();
            spoil(&mut interaction);
            let error = check(Some(interaction)).expect_err(field);
            assert_eq!(error.violations()[0].field, field);
        }
    }
}
