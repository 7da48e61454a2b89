//! All six services, and a person who leaves traces in each of them.

use async_nats::jetstream::message::StreamMessage;
use sqlx::{Connection as _, PgConnection};
use trama_platform::{Config, bus::Stream, objects::Objects};
use trama_proto::{
    case::v1::{
        CaseStatus, ListCasesRequest, ReplyToCaseRequest, ResolveCaseRequest,
        case_service_client::CaseServiceClient,
    },
    common::v1::{Attachment, ChannelKind, Direction, Handle, Interaction, InteractionKind, Trust},
    identity_resolution::v1::{
        FindCustomersRequest, InteractionIdentified, MergeCustomersRequest, Purpose, RequestConsentRequest,
        SetTraitsRequest, identity_service_client::IdentityServiceClient,
        profile_service_client::ProfileServiceClient,
    },
    ids::InteractionId,
    ingest::v1::{Delivery, InteractionReceived},
    notification::v1::{
        GetMessageRequest, MessageStatus, SendMessageRequest,
        notification_service_client::NotificationServiceClient,
    },
    time::to_wire,
};
use trama_testkit::{TestApp, tenant};

/// Her addresses.
pub const ADDRESSES: [&str; 3] = [
    "zelinda.quattrocchi@example.org",
    "393331239876",
    "visitor-zelinda",
];

const RESOURCES: &str = r#"
apiVersion: trama.dev/v1alpha1
kind: Survey
metadata: {name: after-case, namespace: acme}
spec:
  trigger: caseResolved
  quarantineDays: 0
  answerWithinHours: 2
  questions: [{id: easy, measures: ces, text: {it: "Da 1 a 7?", en: "1 to 7?"}}]
---
apiVersion: trama.dev/v1alpha1
kind: Survey
metadata: {name: after-case, namespace: globex}
spec:
  trigger: caseResolved
  quarantineDays: 0
  answerWithinHours: 2
  questions: [{id: easy, measures: ces, text: {it: "Da 1 a 7?", en: "1 to 7?"}}]
---
apiVersion: trama.dev/v1alpha1
kind: RetentionPolicy
metadata: {name: default, namespace: acme}
spec:
  keepDays: {cases: 30, conversations: 30, messages: 30, surveys: 30, workItems: 30, quarantine: 30, chats: 30}
"#;

pub struct World {
    pub app: TestApp,
}

/// Somebody with several ids.
pub struct Person {
    pub customers: Vec<String>,
}

impl World {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut Config) + Send + 'static) -> Self {
        let services = [
            trama_ingest::service(),
            trama_identity_resolution::service(),
            trama_case::service(),
            trama_routing::service(),
            trama_notification::service(),
            trama_survey::service(),
        ];
        let app = TestApp::builder(&services)
            .resources(RESOURCES)
            .configure(|config| {
                config.privacy.secret = "a secret of the test, long enough".into();
                change(config);
            })
            .start()
            .await;
        Self { app }
    }

    /// What somebody said.
    pub fn said(
        &self,
        whose: &str,
        name: &str,
        kind: ChannelKind,
        (handle, value): (&str, &str),
        text: &str,
    ) -> InteractionReceived {
        let now = Some(to_wire(self.app.clock.now()));
        let id = InteractionId::derived(&[whose.as_bytes(), name.as_bytes()]);
        InteractionReceived {
            interaction: Some(Interaction {
                interaction_id: id.to_string(),
                revision: 1,
                channel: "door".into(),
                channel_kind: kind.into(),
                kind: InteractionKind::Message.into(),
                direction: Direction::Inbound.into(),
                provider_id: format!("provider-{name}"),
                conversation_key: value.into(),
                party: Some(Handle {
                    kind: handle.into(),
                    value: value.into(),
                    trust: Trust::Observed.into(),
                }),
                display_name: "Zelinda Quattrocchi".into(),
                occurred_at: now,
                received_at: now,
                text: text.into(),
                language: "it".into(),
                ..Interaction::default()
            }),
        }
    }

    /// Says something, and it is worked in.
    pub async fn says(&self, whose: &str, name: &str, (kind, from): (ChannelKind, (&str, &str)), text: &str) {
        let said = self.said(whose, name, kind, from, text);
        self.app.publish(whose, from.1, &said).await;
        self.app.settle().await;
    }

    /// She writes a mail with a photo, writes on WhatsApp, chats; two of her ids become one; an agent answers; one case
    /// is resolved and a survey asks.
    pub async fn live(&self, whose: &str) -> Person {
        let app = &self.app;
        let objects = self.object_store().await;
        let mut mail = self.said(
            whose,
            "mail",
            ChannelKind::Email,
            ("email", ADDRESSES[0]),
            "rubinettodorato per mail, ordine 4711",
        );
        let said = mail.interaction.as_mut().expect("an interaction");
        let key = format!("{whose}/{}/0", said.interaction_id);
        let photo = "a photo of rubinettodorato".into();
        objects.put(&key, photo).await.expect("a file");
        said.attachments.push(Attachment {
            attachment_id: "1".into(),
            filename: "foto-zelinda.jpg".into(),
            content_type: "image/jpeg".into(),
            object_key: key,
            ..Attachment::default()
        });
        app.publish(whose, ADDRESSES[0], &mail).await;
        let wa = (ChannelKind::Whatsapp, ("whatsapp", ADDRESSES[1]));
        self.says(whose, "wa", wa, "rubinettodorato per whatsapp").await;
        let by_mail = self.find(whose, "email", ADDRESSES[0]).await;
        let by_whatsapp = self.find(whose, "whatsapp", ADDRESSES[1]).await;
        let mut customers = vec![by_mail.clone()];
        if by_mail != by_whatsapp {
            let request = MergeCustomersRequest {
                survivor_customer_id: by_mail.clone(),
                merged_customer_id: by_whatsapp.clone(),
                reason: "the same person says who she is".into(),
                request_id: "m1".into(),
            };
            let request = app.request(whose, "bruno", request);
            IdentityServiceClient::new(app.grpc())
                .merge_customers(request)
                .await
                .expect("merged");
            customers.push(by_whatsapp);
        }
        app.settle().await;
        // A chat, as the door writes it, and as it is heard.
        let mut chat = self.said(
            whose,
            "chat",
            ChannelKind::WebChat,
            ("webchat", ADDRESSES[2]),
            "rubinettodorato per chat",
        );
        let said = chat.interaction.as_mut().expect("an interaction");
        said.also_known_as.push(Handle {
            kind: "email".into(),
            value: ADDRESSES[0].into(),
            trust: Trust::Observed.into(),
        });
        app.publish(whose, ADDRESSES[2], &chat).await;
        self.at_the_doors(whose).await;
        let traits = SetTraitsRequest {
            customer_id: by_mail.clone(),
            traits: [("birth_year".to_owned(), "1961".to_owned())].into(),
            request_id: "t1".into(),
            ..SetTraitsRequest::default()
        };
        let traits = app.request(whose, "bruno", traits);
        ProfileServiceClient::new(app.grpc())
            .set_traits(traits)
            .await
            .expect("set");
        app.settle().await;
        let mut cases = CaseServiceClient::new(app.grpc());
        let list = ListCasesRequest {
            customer_id: by_mail.clone(),
            ..ListCasesRequest::default()
        };
        let listed = cases
            .list_cases(app.request(whose, "bruno", list))
            .await
            .expect("listed");
        let open: Vec<_> = listed
            .into_inner()
            .cases
            .into_iter()
            .filter(|c| matches!(c.status(), CaseStatus::Open | CaseStatus::Waiting))
            .collect();
        let case = open.first().expect("an open case").case_id.clone();
        let reply = ReplyToCaseRequest {
            case_id: case.clone(),
            text: "rubinettodorato: arriva il tecnico, signora Zelinda".into(),
            request_id: "r1".into(),
            ..ReplyToCaseRequest::default()
        };
        cases
            .reply_to_case(app.request(whose, "bruno", reply))
            .await
            .expect("replied");
        app.settle().await;
        let resolve = ResolveCaseRequest {
            case_id: case,
            request_id: "d1".into(),
            ..ResolveCaseRequest::default()
        };
        cases
            .resolve_case(app.request(whose, "bruno", resolve))
            .await
            .expect("resolved");
        app.settle().await;
        // And another need, which is open.
        app.advance(std::time::Duration::from_secs(3 * 86_400)).await;
        let mail = (ChannelKind::Email, ("email", ADDRESSES[0]));
        self.says(whose, "again", mail, "un altro rubinettodorato perde acqua")
            .await;
        self.sent(whose).await;
        Person { customers }
    }

    /// Waits until the sender has nothing to do any more: it is neither a message nor a timer.
    async fn sent(&self, whose: &str) {
        self.app
            .eventually("every message has left or failed", || async {
                let mut db = self.database().await;
                let queued: i64 = sqlx::query_scalar(
                    "SELECT count(*) FROM notification.messages WHERE tenant = $1 AND status = 'queued'",
                )
                .bind(whose)
                .fetch_one(&mut db)
                .await
                .expect("a count");
                queued == 0
            })
            .await;
        self.app.settle().await;
    }

    /// What the doors keep: lines of a chat, and a delivery that nobody understood.
    async fn at_the_doors(&self, whose: &str) {
        let mut db = self.database().await;
        let now = self.app.clock.now();
        sqlx::query("INSERT INTO ingest.chat_conversations (tenant, channel, visitor, last_seq, created_at) VALUES ($1, 'door', $2, 1, $3)")
            .bind(whose)
            .bind(ADDRESSES[2])
            .bind(now)
            .execute(&mut db)
            .await
            .expect("a conversation");
        sqlx::query(
            "INSERT INTO ingest.chat_messages (tenant, channel, visitor, seq, message_id, body, author, created_at)
             VALUES ($1, 'door', $2, 1, 'm', 'rubinettodorato nella finestra', 'bruno', $3)",
        )
        .bind(whose)
        .bind(ADDRESSES[2])
        .bind(now)
        .execute(&mut db)
        .await
        .expect("a line");
        let delivery = Delivery {
            delivery_id: self.app.clock.new_id().to_string(),
            channel: "door".into(),
            body: format!("From: <{}>\r\n\r\nrubinettodorato in quarantena", ADDRESSES[0]).into_bytes(),
            ..Delivery::default()
        };
        sqlx::query(
            "INSERT INTO ingest.quarantine (tenant, delivery_id, channel, reason, delivery, size_bytes, received_at)
             VALUES ($1, $2::uuid, 'door', 'no sense in it', $3, 1, $4)",
        )
        .bind(whose)
        .bind(&delivery.delivery_id)
        .bind(prost::Message::encode_to_vec(&delivery))
        .bind(now)
        .execute(&mut db)
        .await
        .expect("a delivery");
    }

    pub async fn database(&self) -> PgConnection {
        let mut db = PgConnection::connect(&self.app.config.database_url)
            .await
            .expect("PostgreSQL");
        sqlx::query("SELECT set_config('trama.tenant', '*', false)")
            .execute(&mut db)
            .await
            .expect("a setting");
        db
    }

    pub async fn find(&self, whose: &str, kind: &str, value: &str) -> String {
        let request = FindCustomersRequest {
            handle: Some(Handle {
                kind: kind.into(),
                value: value.into(),
                trust: 0,
            }),
        };
        let request = self.app.request(whose, "bruno", request);
        let found = IdentityServiceClient::new(self.app.grpc())
            .find_customers(request)
            .await
            .expect("found");
        found
            .into_inner()
            .customers
            .first()
            .expect("somebody")
            .customer_id
            .clone()
    }

    /// She agrees to advertising of a brand by mail.
    pub async fn agree(&self, whose: &str, customer: &str, brand: &str) {
        let request = RequestConsentRequest {
            customer_id: customer.into(),
            channel_kind: ChannelKind::Email.into(),
            purpose: Purpose::Marketing.into(),
            brand: brand.into(),
            evidence: "form 12".into(),
            ..RequestConsentRequest::default()
        };
        let request = self.app.request(whose, "bruno", request);
        ProfileServiceClient::new(self.app.grpc())
            .request_consent(request)
            .await
            .expect("agreed");
        self.app.settle().await;
    }

    /// What becomes of an advertisement.
    pub async fn advertise(&self, whose: &str, customer: &str, brand: &str) -> MessageStatus {
        let mut client = NotificationServiceClient::new(self.app.grpc());
        let request = SendMessageRequest {
            customer_id: customer.into(),
            text: "nuovi colori".into(),
            marketing: true,
            brand: brand.into(),
            request_id: format!("advert-{brand}"),
            ..SendMessageRequest::default()
        };
        let request = self.app.request(whose, "bruno", request);
        let message_id = client
            .send_message(request)
            .await
            .expect("sent")
            .into_inner()
            .message_id;
        self.app.settle().await;
        self.sent(whose).await;
        let request = self.app.request(whose, "bruno", GetMessageRequest { message_id });
        let message = client
            .get_message(request)
            .await
            .expect("there")
            .into_inner()
            .message;
        message.expect("a message").status()
    }

    async fn object_store(&self) -> Objects {
        let objects = Objects::open(&self.app.config.objects).await;
        objects.expect("where the app keeps its files, too")
    }

    /// Keys of all that a tenant has in the object store.
    pub async fn objects(&self, whose: &str) -> Vec<String> {
        let objects = self.object_store().await;
        objects.keys(&tenant(whose), "").await.expect("a list")
    }

    /// Those that hold one of the words.
    pub async fn objects_with(&self, whose: &str, needles: &[&str]) -> Vec<String> {
        let objects = self.object_store().await;
        let mut found = Vec::new();
        for key in self.objects(whose).await {
            let bytes = objects.get(&tenant(whose), &key).await.expect("a file");
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if needles.iter().any(|needle| text.contains(needle)) {
                found.push(key);
            }
        }
        found
    }

    pub async fn customers(&self, whose: &str) -> i64 {
        let mut db = self.database().await;
        sqlx::query_scalar("SELECT count(*) FROM identity.customers WHERE tenant = $1")
            .bind(whose)
            .fetch_one(&mut db)
            .await
            .expect("a count")
    }

    pub async fn open_work(&self, whose: &str) -> i64 {
        let mut db = self.database().await;
        sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM routing.work_items WHERE tenant = $1 AND ended_at IS NULL)
                  + (SELECT count(*) FROM cases.cases WHERE tenant = $1 AND status IN (1, 2))",
        )
        .bind(whose)
        .fetch_one(&mut db)
        .await
        .expect("a count")
    }

    /// All that stands in the stream of events.
    pub async fn travelled(&self) -> Vec<StreamMessage> {
        let bus = &self.app.running.bus;
        let mut stream = bus.stream(Stream::Events).await.expect("the stream");
        let last = stream.info().await.expect("it answers").state.last_sequence;
        let mut found = Vec::new();
        for sequence in 1..=last {
            found.extend(stream.get_raw_message(sequence).await);
        }
        found
    }

    /// Publishes messages once more, each under a new id.
    pub async fn replay(&self, messages: &[StreamMessage]) {
        for message in messages {
            let id = self.app.clock.new_id();
            let payload = message.payload.to_vec();
            self.app
                .publish_raw(&message.subject, &id.to_string(), id, payload)
                .await;
        }
    }

    /// Subjects of a tenant's messages that hold one of the words.
    pub async fn in_streams(&self, whose: &str, needles: &[&str]) -> Vec<String> {
        let messages = self.travelled().await.into_iter();
        messages
            .filter(|m| m.subject.contains(&format!(".{whose}.")))
            .filter(|m| {
                let text = String::from_utf8_lossy(&m.payload).into_owned();
                needles.iter().any(|needle| text.contains(needle))
            })
            .map(|m| m.subject.to_string())
            .collect()
    }

    /// How often somebody was recognised.
    pub async fn told(&self, whose: &str) -> usize {
        let told = self.app.events::<InteractionIdentified>().await.into_iter();
        told.filter(|e| e.tenant == whose).count()
    }
}
