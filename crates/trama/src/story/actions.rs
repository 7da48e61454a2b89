//! What happens: each action goes through the door a real customer, provider or front end would use.

mod agents;
mod customers;

use super::{script::Action, world::World};

impl World {
    /// Does it; returns lines for the reader.
    pub(super) async fn perform(&mut self, action: &Action) -> anyhow::Result<Vec<String>> {
        self.sent += 1;
        match action {
            Action::Email {
                person,
                to,
                subject,
                text,
                attachment,
            } => self.email(person, to, subject, text, attachment.as_deref()).await,
            Action::Call { person, states } => self.call(person, states).await,
            Action::Whatsapp {
                person,
                text,
                voice_note,
            } => {
                self.whatsapp(person, text.as_deref(), voice_note.as_deref())
                    .await
            }
            Action::Chat {
                person,
                logged_in,
                text,
            } => self.chat(person, *logged_in, text).await,
            Action::Connect { agent } => self.connect(agent).await,
            Action::Accept { agent } => self.accept(agent).await,
            Action::Link {
                agent,
                person,
                reference,
            } => self.link(agent, person, reference).await,
            Action::Verify { agent, person, level } => self.verify(agent, person, *level).await,
            Action::Prefer {
                agent,
                person,
                need,
                channel,
            } => self.prefer(agent, person, need, (*channel).into()).await,
            Action::Reply {
                agent,
                person,
                text,
                article,
            } => self.reply(agent, person, text, article.as_deref()).await,
            Action::Resolve { agent, person } => self.resolve(agent, person).await,
        }
    }
}
