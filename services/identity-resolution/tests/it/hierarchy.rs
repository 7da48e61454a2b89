//! Companies, their parts and their people are links: walked up and down, never merged, never a circle.

use tonic::Code;
use trama_proto::identity_resolution::v1::{
    LinkRelationRequest, ListHierarchyRequest, ListHierarchyResponse, Relation, RelationKind,
};
use trama_testkit::TestApp;

use crate::{
    pains::{merge, split},
    world::{TENANT, client, count, interaction, start, who},
};

async fn company(app: &TestApp, name: &str) -> String {
    who(app, &interaction(name, &format!("email:info@{name}.example"))).await
}

async fn link(
    app: &TestApp,
    (whole, part): (&str, &str),
    (kind, role): (RelationKind, &str),
) -> Result<(), tonic::Status> {
    let relation = Relation {
        customer_id: whole.into(),
        other_customer_id: part.into(),
        kind: kind as i32,
        role: role.into(),
        evidence: "company register".into(),
        ..Relation::default()
    };
    let request = LinkRelationRequest {
        relation: Some(relation),
        request_id: String::new(),
    };
    let answer = client(app)
        .link_relation(app.request(TENANT, "bruno", request))
        .await;
    answer.map(|_| ())
}

async fn walk(app: &TestApp, tenant: &str, from: &str) -> Result<ListHierarchyResponse, tonic::Status> {
    let request = ListHierarchyRequest {
        customer_id: from.into(),
        with_contacts: true,
    };
    let answer = client(app)
        .list_hierarchy(app.request(tenant, "bruno", request))
        .await;
    answer.map(tonic::Response::into_inner)
}

/// Level, role, and the id of who is the second.
fn steps(walk: &ListHierarchyResponse) -> Vec<(i32, String, String)> {
    walk.steps
        .iter()
        .map(|step| {
            let relation = step.relation.clone().unwrap_or_default();
            (step.level, relation.role, relation.other_customer_id)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hierarchy_of_companies_is_walked_up_and_down_with_who_acts_for_whom() {
    let app = start().await;
    let [group, firm, branch, shop] = [
        company(&app, "group").await,
        company(&app, "firm").await,
        company(&app, "branch").await,
        company(&app, "shop").await,
    ];
    let boss = who(&app, &interaction("boss", "email:boss@group.example")).await;
    let buyer = who(&app, &interaction("buyer", "email:buyer@firm.example")).await;
    let (part, contact) = (RelationKind::PartOf, RelationKind::CompanyContact);
    for (ends, how) in [
        ((&group, &firm), (part, "subsidiary")),
        ((&firm, &branch), (part, "branch")),
        ((&branch, &shop), (part, "shop")),
        ((&group, &boss), (contact, "director")),
        ((&firm, &buyer), (contact, "buyer")),
    ] {
        link(&app, (ends.0, ends.1), how).await.expect("linked");
    }
    let step = |level: i32, role: &str, who: &str| (level, role.to_owned(), who.to_owned());
    let all = walk(&app, TENANT, &firm).await.expect("walked");
    assert_eq!(
        steps(&all),
        [
            step(-1, "subsidiary", &firm),
            step(-1, "director", &boss),
            step(0, "buyer", &buyer),
            step(1, "branch", &branch),
            step(2, "shop", &shop),
        ]
    );
    assert!(!all.truncated);
    assert_eq!(
        walk(&app, "rival", &firm).await.expect_err("nobody").code(),
        Code::NotFound
    );

    // Nothing is part of itself, not even around corners.
    for (whole, part_of_it) in [(&shop, &group), (&branch, &firm), (&firm, &firm)] {
        let refused = link(&app, (whole, part_of_it), (part, ""))
            .await
            .expect_err("a circle");
        assert_eq!(refused.code(), Code::FailedPrecondition);
    }

    // Two records of one firm: what hangs on either hangs on the one that remains, and goes back when they are parted.
    let twin = company(&app, "firm-twin").await;
    let store = company(&app, "store").await;
    link(&app, (&twin, &store), (part, "store"))
        .await
        .expect("linked");
    let merged = merge(&app, &firm, &twin).await;
    let joined = walk(&app, TENANT, &twin).await.expect("walked");
    let mut below: Vec<String> = steps(&joined)
        .into_iter()
        .filter(|(level, ..)| *level == 1)
        .map(|(_, role, _)| role)
        .collect();
    below.sort();
    assert_eq!(below, ["branch", "store"]);
    split(&app, &merged).await;
    let again = walk(&app, TENANT, &firm).await.expect("walked");
    assert_eq!(steps(&again), steps(&all));
    assert_eq!(count(&app, "merges").await, 1, "no link has merged anybody");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circle_that_a_merge_closes_is_walked_once() {
    let app = start().await;
    let [top, middle, bottom] = [
        company(&app, "top").await,
        company(&app, "middle").await,
        company(&app, "bottom").await,
    ];
    let part = (RelationKind::PartOf, "part");
    link(&app, (&top, &middle), part).await.expect("linked");
    link(&app, (&middle, &bottom), part).await.expect("linked");
    merge(&app, &top, &bottom).await;
    let all = walk(&app, TENANT, &middle).await.expect("walked");
    let levels: Vec<i32> = all.steps.iter().map(|s| s.level).collect();
    assert!(levels.len() <= 4 && !all.truncated, "{levels:?}");
    assert!(levels.contains(&-1) && levels.contains(&1));
    app.stop().await;
}
