//! What must be true: asked of the public APIs until it is, or patience ends.

mod evidence;

use anyhow::{Context as _, ensure};
use trama_proto::{
    case::v1::CaseKind,
    identity_resolution::v1::{RequireVerificationRequest, identity_service_client::IdentityServiceClient},
    notification::v1::{
        GetMessageRequest, MessageStatus, notification_service_client::NotificationServiceClient,
    },
    routing::v1::{GetWorkItemRequest, WorkItemState, routing_service_client::RoutingServiceClient},
    survey::v1::{ListInvitationsRequest, survey_service_client::SurveyServiceClient},
};

use evidence::{equal, inbound, verification};

use super::{
    print::{kind, status},
    script::Check,
    world::{World, said},
};

impl World {
    /// Waits until a check holds; says what is true, or what is not.
    pub(super) async fn check(&mut self, check: &Check) -> anyhow::Result<String> {
        let deadline = tokio::time::Instant::now() + self.manner.patience;
        loop {
            let failure = match self.look(check).await {
                Ok(line) => return Ok(line),
                Err(error) => error,
            };
            if tokio::time::Instant::now() > deadline {
                return Err(failure);
            }
            tokio::time::sleep(std::time::Duration::from_millis(40)).await;
        }
    }

    async fn look(&mut self, check: &Check) -> anyhow::Result<String> {
        match check {
            Check::Customer {
                person,
                handle,
                entitlement,
            } => {
                let found = self.holders(handle).await?;
                ensure!(found.len() == 1, "{handle} belongs to {} customers", found.len());
                if let Some(wanted) = entitlement {
                    ensure!(
                        found[0].entitlement == *wanted,
                        "the entitlement is `{}`, not {wanted}",
                        found[0].entitlement
                    );
                }
                let name = &self.person(person)?.name;
                Ok(format!(
                    "{name} is a customer, entitlement {}",
                    found[0].entitlement
                ))
            }
            Check::Case {
                person,
                status: wanted,
                intent,
                reference,
                interactions,
                attachments,
            } => {
                let case = self.case(person).await?;
                let snapshot = self.snapshot(&case.case_id).await?;
                let said = self.describe(&case, &snapshot);
                equal("status", wanted.as_deref(), &status(case.status))?;
                let understanding = case.understanding.clone().unwrap_or_default();
                equal("intent", intent.as_deref(), &understanding.intent)?;
                if let Some(reference) = reference {
                    ensure!(
                        understanding.references.contains(reference),
                        "references are {:?}",
                        understanding.references
                    );
                }
                equal("interactions", interactions.as_ref(), &inbound(&snapshot).count())?;
                if let Some(wanted) = attachments {
                    self.attachments(&snapshot, *wanted).await?;
                }
                Ok(said)
            }
            Check::Waiting {
                person,
                channel,
                queue,
                position,
                remember,
                same,
            } => {
                let case_id = self.case(person).await?.case_id;
                let request = self.request("supervisor", GetWorkItemRequest { case_id })?;
                let found = RoutingServiceClient::new(self.grpc())
                    .get_work_item(request)
                    .await
                    .map_err(said)?
                    .into_inner();
                let item = found.work_item.context("no work item")?;
                ensure!(
                    item.state() == WorkItemState::Pending,
                    "the item is {:?}",
                    item.state()
                );
                equal("channel", channel.as_deref(), &kind(item.channel_kind))?;
                equal("queue", queue.as_deref(), &item.queue)?;
                equal("position", position.as_ref(), &found.position)?;
                let since =
                    trama_proto::time::from_wire(item.waiting_since.as_ref()).context("waits since never")?;
                if let Some(name) = remember {
                    self.places.insert(name.clone(), since);
                }
                let mut line = format!(
                    "waits in {}, place {}, now for {}",
                    item.queue,
                    found.position,
                    kind(item.channel_kind)
                );
                if let Some(name) = same {
                    ensure!(
                        self.places.get(name) == Some(&since),
                        "waiting_since changed to {since}"
                    );
                    line.push_str(&format!("; still waiting since {}", since.format("%T")));
                }
                Ok(line)
            }
            Check::Offer {
                agent,
                person,
                channel,
                verified,
                interactions,
                attachments,
                intent,
                article,
                transfers,
                recovery,
            } => {
                let offer = self.open_offer(agent, person.as_deref(), *recovery).await?;
                let item = offer.work_item.clone().unwrap_or_default();
                let snapshot = offer.snapshot.clone().unwrap_or_default();
                let case = snapshot.case.clone().unwrap_or_default();
                equal("channel", channel.as_deref(), &kind(item.channel_kind))?;
                let level = verification(&snapshot);
                equal("verification", verified.as_ref(), &level)?;
                equal("interactions", interactions.as_ref(), &inbound(&snapshot).count())?;
                equal(
                    "intent",
                    intent.as_deref(),
                    &case.understanding.clone().unwrap_or_default().intent,
                )?;
                equal(
                    "transfers",
                    transfers.as_ref(),
                    &case.effort.unwrap_or_default().transfers,
                )?;
                if let Some(wanted) = attachments {
                    self.attachments(&snapshot, *wanted).await?;
                }
                let suggested = snapshot
                    .suggested_article
                    .clone()
                    .map(|a| a.article_version)
                    .unwrap_or_default();
                equal("article", article.as_deref(), &suggested)?;
                ensure!(!offer.explanation.is_empty(), "the offer does not say why");
                Ok(self.describe_offer(agent, &offer, &snapshot, &case))
            }
            Check::OneCustomer { person, handles } => {
                let mut ids = std::collections::BTreeSet::new();
                for handle in handles {
                    for customer in self.holders(handle).await? {
                        ids.insert(customer.customer_id);
                    }
                }
                ensure!(ids.len() == 1, "{} customers hold them", ids.len());
                Ok(format!(
                    "{} is one customer: {}",
                    self.person(person)?.name,
                    handles.join(", ")
                ))
            }
            Check::Verified {
                person,
                level,
                not_asked_again,
            } => {
                let customer = self.customer(person).await?;
                let proof = customer.verification.unwrap_or_default();
                ensure!(proof.level >= *level, "verified to level {}", proof.level);
                if *not_asked_again {
                    let request = RequireVerificationRequest {
                        customer_id: customer.customer_id,
                        level: *level,
                        ..Default::default()
                    };
                    let mut identity = IdentityServiceClient::new(self.grpc());
                    let answer = identity
                        .require_verification(self.request("supervisor", request)?)
                        .await
                        .map_err(said)?;
                    ensure!(answer.into_inner().holds, "she would be asked again");
                    return Ok(format!(
                        "still verified, level {}, by {}: not asked again",
                        proof.level, proof.method
                    ));
                }
                Ok(format!("verified, level {}, by {}", proof.level, proof.method))
            }
            Check::Sent {
                person,
                channel,
                contains,
                article,
                status: wanted,
            } => {
                let message_id = self.replies.get(person).context("nobody answered yet")?.clone();
                let request = self.request("supervisor", GetMessageRequest { message_id })?;
                let message = NotificationServiceClient::new(self.grpc())
                    .get_message(request)
                    .await
                    .map_err(said)?
                    .into_inner()
                    .message;
                let message = message.context("no message")?;
                ensure!(
                    message.status() != MessageStatus::Failed,
                    "it failed: {}",
                    message.reason
                );
                equal("channel", Some(channel.as_str()), &kind(message.channel_kind))?;
                for words in contains {
                    ensure!(
                        message.text.contains(words.as_str()),
                        "“{words}” is not in “{}”",
                        message.text
                    );
                }
                equal("article", article.as_deref(), &message.article_version)?;
                let reached = format!("{:?}", message.status()).to_lowercase();
                equal("status", wanted.as_deref(), &reached)?;
                let sent = self
                    .sandbox
                    .sent()
                    .into_iter()
                    .filter(|s| s.provider_message_id == message.provider_message_id)
                    .count();
                ensure!(sent == 1, "it was sent {sent} times");
                let first = message.text.lines().next().unwrap_or_default();
                Ok(format!(
                    "“{first} …” left by {}, citing {}; {reached} ({})",
                    kind(message.channel_kind),
                    message.article_version,
                    message.reason
                ))
            }
            Check::Asked {
                person,
                channel,
                contains,
            } => {
                let phone = self.person(person)?.phone.clone().unwrap_or_default();
                let digits = phone.trim_start_matches('+').to_owned();
                let found = self.sandbox.sent().into_iter().filter(|s| {
                    s.to.trim_start_matches('+') == digits
                        && s.body_text
                            .as_ref()
                            .is_some_and(|b| b.contains(contains.as_str()))
                });
                let times = found.count();
                ensure!(times == 1, "the question “{contains}” was sent {times} times");
                Ok(format!("asked by {channel}: “{contains} …”"))
            }
            Check::Answered {
                person,
                question,
                score,
            } => {
                let customer_id = self.customer(person).await?.customer_id;
                let request = ListInvitationsRequest {
                    customer_id,
                    ..Default::default()
                };
                let found = SurveyServiceClient::new(self.grpc())
                    .list_invitations(self.request("supervisor", request)?)
                    .await;
                let invitations = found.map_err(said)?.into_inner().invitations;
                let invitation = invitations.first().context("nobody was asked")?;
                equal(
                    "score",
                    Some(score),
                    invitation.scores.get(question).unwrap_or(&-1),
                )?;
                Ok(format!("survey answer recorded: {question} {score}"))
            }
            Check::Cases { person, count } => {
                let needs = self
                    .cases(person)
                    .await?
                    .into_iter()
                    .filter(|c| c.kind() == CaseKind::Need)
                    .count();
                equal("cases", Some(count), &needs)?;
                Ok(format!(
                    "{} had one need and has {needs} case: explained once",
                    self.person(person)?.name
                ))
            }
            Check::Effort {
                person,
                contacts,
                channel_switches,
                transfers,
                reverifications,
            } => {
                let effort = self.case(person).await?.effort.unwrap_or_default();
                equal("contacts", contacts.as_ref(), &effort.contacts)?;
                equal(
                    "channel switches",
                    channel_switches.as_ref(),
                    &effort.channel_switches,
                )?;
                equal("transfers", transfers.as_ref(), &effort.transfers)?;
                equal(
                    "re-verifications",
                    reverifications.as_ref(),
                    &effort.reverifications,
                )?;
                Ok(format!(
                    "effort: {} contacts, {} channel switches, {} transfers, {} re-verifications",
                    effort.contacts, effort.channel_switches, effort.transfers, effort.reverifications
                ))
            }
            Check::ChatShows {
                person,
                contains,
                article,
            } => {
                let shown = self.chats.get(person).context("no chat window")?.shown();
                let times = shown.iter().filter(|l| l.contains(contains.as_str())).count();
                ensure!(
                    times == 1,
                    "“{contains}” stands {times} times in the window: {shown:?}"
                );
                if let Some(version) = article {
                    let case = self.case(person).await?;
                    let cited = self
                        .snapshot(&case.case_id)
                        .await?
                        .timeline
                        .iter()
                        .any(|e| e.article_version == *version);
                    ensure!(cited, "no line of the timeline cites {version}");
                    return Ok(format!("the chat shows “… {contains} …”, citing {version}"));
                }
                Ok(format!("the chat shows “… {contains} …”"))
            }
            Check::Recovery { person } => {
                let cases = self.cases(person).await?;
                let case = cases
                    .iter()
                    .find(|c| c.kind() == CaseKind::Recovery)
                    .context("no follow-up case")?;
                let open = cases.iter().filter(|c| c.kind() == CaseKind::Recovery).count();
                ensure!(open == 1, "{open} follow-up cases");
                Ok(format!(
                    "closed loop: a follow-up case is {} (“{}”)",
                    status(case.status),
                    case.subject
                ))
            }
        }
    }
}
