//! What was before, and what is now: in the audit log, in words of ours.

use trama_proto::{
    common::v1::{ChannelKind, ChannelPreference},
    identity_resolution::v1::{
        ConsentStatus, MergeCustomersRequest, ProtectCustomerRequest, Purpose, SetChannelPreferenceRequest,
        SetConsentRequest, SplitCustomersRequest,
    },
};
use trama_testkit::TestApp;

use crate::world::{TENANT, client, interaction, start, who};

/// What the entries of one method say, in order: whose, which field, from what to what.
async fn changes(app: &TestApp, method: &str) -> Vec<String> {
    let entries = app.audited(method).await;
    entries
        .into_iter()
        .flat_map(|entry| entry.changes)
        .map(|c| {
            let id = c.object.unwrap_or_default().id;
            format!("{id} {}: {} -> {}", c.field, c.before, c.after)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_says_what_was_before_of_wishes_consents_and_merges() {
    let app = start().await;
    let anna = who(&app, &interaction("a1", "email:anna@example.com")).await;
    let other = who(&app, &interaction("a2", "email:other@example.com")).await;
    for kind in [ChannelKind::Whatsapp, ChannelKind::Email, ChannelKind::Email] {
        let request = SetChannelPreferenceRequest {
            customer_id: anna.clone(),
            preference: Some(ChannelPreference {
                need: "product-fault".into(),
                channel_kind: kind as i32,
            }),
            request_id: String::new(),
        };
        client(&app)
            .set_channel_preference(app.request(TENANT, "bruno", request))
            .await
            .expect("set");
    }
    let preference = format!("{anna} preferences/product-fault:");
    assert_eq!(
        changes(&app, "/SetChannelPreference").await,
        [
            format!("{preference}  -> CHANNEL_KIND_WHATSAPP"),
            format!("{preference} CHANNEL_KIND_WHATSAPP -> CHANNEL_KIND_EMAIL"),
        ],
        "a wish that was known already is no change"
    );

    for status in [ConsentStatus::Granted, ConsentStatus::Denied] {
        let request = SetConsentRequest {
            customer_id: anna.clone(),
            channel_kind: ChannelKind::Email as i32,
            purpose: Purpose::Marketing as i32,
            status: status as i32,
            evidence: "form".into(),
            ..SetConsentRequest::default()
        };
        client(&app)
            .set_consent(app.request(TENANT, "bruno", request))
            .await
            .expect("said");
    }
    let consents = changes(&app, "/SetConsent").await;
    let [granted, denied] = consents.as_slice() else {
        panic!("{consents:?}");
    };
    assert!(granted.ends_with(":  -> CONSENT_STATUS_GRANTED"), "{granted}");
    assert!(
        denied.ends_with(": CONSENT_STATUS_GRANTED -> CONSENT_STATUS_DENIED"),
        "{denied}"
    );

    let protect = ProtectCustomerRequest {
        customer_id: anna.clone(),
        protected: true,
        reason: "key account".into(),
        request_id: String::new(),
    };
    client(&app)
        .protect_customer(app.request(TENANT, "bruno", protect))
        .await
        .expect("protected");
    assert_eq!(
        changes(&app, "/ProtectCustomer").await,
        [format!("{anna} protected: false -> true")]
    );

    // What was refused before they are one is not about both.
    app.advance(std::time::Duration::from_secs(60)).await;
    let merge = MergeCustomersRequest {
        survivor_customer_id: anna.clone(),
        merged_customer_id: other.clone(),
        reason: "said so".into(),
        request_id: String::new(),
    };
    let merged = client(&app)
        .merge_customers(app.request(TENANT, "bruno", merge))
        .await
        .expect("merged");
    assert_eq!(
        changes(&app, "/MergeCustomers").await,
        [format!("{other} merged_into:  -> {anna}")]
    );
    let split = SplitCustomersRequest {
        merge_id: merged.into_inner().merge_id,
        request_id: String::new(),
    };
    client(&app)
        .split_customers(app.request(TENANT, "bruno", split))
        .await
        .expect("split");
    assert_eq!(
        changes(&app, "/SplitCustomers").await,
        [format!("{other} merged_into: {anna} -> ")]
    );
    app.stop().await;
}
