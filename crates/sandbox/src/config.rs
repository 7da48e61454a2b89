//! What the sandbox is told: where to listen, whose accounts it plays, and how receipts follow a send.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a sandbox is started with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the HTTP APIs listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where the mail sink listens; port 0 takes a free one.
    pub smtp_listen: SocketAddr,
    /// The accounts the providers know.
    pub accounts: Accounts,
    /// How delivery receipts follow a send.
    pub receipts: ReceiptPlan,
}

impl Default for Config {
    /// Free ports on loopback, no account, and the receipts of [`ReceiptPlan::default`].
    fn default() -> Self {
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            listen: loopback,
            smtp_listen: loopback,
            accounts: Accounts::default(),
            receipts: ReceiptPlan::default(),
        }
    }
}

/// The accounts the providers know; a provider without one refuses every call.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    /// The number on the WhatsApp Business Cloud API.
    pub whatsapp: Option<WhatsAppAccount>,
    /// The account at Twilio.
    pub twilio: Option<TwilioAccount>,
}

/// One business number on the WhatsApp Business Cloud API.
#[derive(Clone, Debug)]
pub struct WhatsAppAccount {
    /// The id in the path of a send.
    pub phone_number_id: String,
    /// The number as people read it.
    pub display_phone_number: String,
    /// The WhatsApp Business Account the number belongs to.
    pub waba_id: String,
    /// The bearer token that sends and media must carry.
    pub access_token: String,
    /// What signs the webhooks.
    pub app_secret: String,
    /// Where status webhooks go; empty means nowhere.
    pub callback_url: String,
}

/// One account at Twilio.
#[derive(Clone, Debug)]
pub struct TwilioAccount {
    /// The id in the path and the name in Basic authentication.
    pub account_sid: String,
    /// The password in Basic authentication, and what signs the callbacks.
    pub auth_token: String,
    /// Where status callbacks go when the message itself names no `StatusCallback`.
    pub status_callback_url: Option<String>,
}

/// Where receipts go from now on; `None` leaves a URL as it is, an empty one switches it off.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Callbacks {
    /// The webhook of the WhatsApp number.
    pub whatsapp: Option<String>,
    /// The status callback of the Twilio account.
    pub twilio: Option<String>,
}

/// How delivery receipts follow an accepted send.
#[derive(Clone, Debug)]
pub struct ReceiptPlan {
    /// The statuses that are reached, in the order in which they happen.
    pub statuses: Vec<ReceiptStatus>,
    /// The pause before each receipt.
    pub delay: Duration,
    /// How often every receipt is posted; 0 means not at all.
    pub copies: u32,
    /// The order in which the receipts are posted.
    pub order: ReceiptOrder,
    /// What happens when the receiver does not answer 2xx.
    pub retry: Retry,
}

impl Default for ReceiptPlan {
    /// Sent, delivered and read, once each and in order, 20 ms apart.
    fn default() -> Self {
        Self {
            statuses: vec![ReceiptStatus::Sent, ReceiptStatus::Delivered, ReceiptStatus::Read],
            delay: Duration::from_millis(20),
            copies: 1,
            order: ReceiptOrder::InOrder,
            retry: Retry::default(),
        }
    }
}

/// A status that a message reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiptStatus {
    /// The provider handed it on.
    Sent,
    /// The device has it.
    Delivered,
    /// The person opened it; plain SMS knows no such thing and skips it.
    Read,
}

/// The order in which the receipts of one message are posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiptOrder {
    /// As they happened.
    InOrder,
    /// The last one first, as no provider promises an order.
    Reversed,
}

/// How a receipt is repeated until the receiver answers 2xx.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// The pause before the first repetition; it doubles with each one.
    pub first_backoff: Duration,
    /// How long after the first try the last one may begin; zero means that there is only one.
    pub give_up_after: Duration,
}

impl Default for Retry {
    /// From 50 ms on, for half a minute.
    fn default() -> Self {
        Self {
            first_backoff: Duration::from_millis(50),
            give_up_after: Duration::from_secs(30),
        }
    }
}

/// Who was asked to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// The WhatsApp Business Cloud API.
    WhatsApp,
    /// Twilio's Messages API.
    Twilio,
    /// The mail sink.
    Smtp,
}

/// A failure that waits for the next sends it fits.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FaultRule {
    /// Only sends through this provider; `None` fits all.
    #[serde(default)]
    pub provider: Option<Provider>,
    /// Only sends to this address, however it is written; `None` fits all.
    #[serde(default)]
    pub to: Option<String>,
    /// How many sends fail before the rule is spent.
    #[serde(default = "once")]
    pub times: u32,
    /// What goes wrong.
    #[serde(flatten)]
    pub fault: Fault,
}

fn once() -> u32 {
    1
}

/// What can go wrong with a send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fault {
    /// The provider refuses with this code of its own (131047, 21610; an SMTP reply code for mail).
    Refuse {
        /// The provider's error code.
        code: u32,
    },
    /// The API answers with this HTTP status, 500 or 429 say; the mail sink answers 451.
    Status {
        /// The HTTP status.
        status: u16,
        /// The `Retry-After` header, in seconds.
        #[serde(default)]
        retry_after_s: Option<u64>,
    },
    /// The send is accepted, recorded and receipted, but the answer never comes.
    NoAnswer,
    /// The send is accepted, and its only receipt says that it failed with this code.
    FailReceipt {
        /// The provider's error code.
        code: u32,
    },
}
