//! Can this SKU be promised at these nodes? One question, one tick, an answer for each node.
//!
//! A "no" that should have been a "yes" loses a sale; a "yes" that should have been a "no" breaks a promise. So a node of
//! which nothing is known is not available, and neither is one whose answer has outlived itself.

use std::cmp::Ordering;

use serde_json::{Value, json};

use operators::index::AsOf;
use operators::time::TimeMs;

use super::{Availability, AvailabilityRow, Reason};
use crate::answer::instant::time_as_json;
use crate::answer::listing::{Query, mark_asked_for};
use crate::answer::{Failure, Request, Views};
use crate::names::Name;
use crate::view::View;

/// How many nodes one question may name.
pub const NODES_MAX: usize = 100;

/// The parameters of the question.
pub(crate) const PARAMETERS: [&str; 6] = ["sku", "nodes", "node", "tenant", "as_of", "as_of_ms"];

/// `GET /v1/availability?sku=&nodes=a,b,c&node=d&tenant=&as_of=`. A name in which there is a comma can only be a `node`, of
/// which there may be several.
pub(crate) fn look_up(views: &Views, request: &Request) -> Result<String, Failure> {
    let (named, others): (Vec<_>, Vec<_>) = request.query.iter().cloned().partition(|(name, _)| name == "node");
    let mut query = Query::new(&others)?;
    let view = views.view_named(Availability::NAME)?;
    let is_as_of = request.query.iter().any(|(name, _)| name.starts_with("as_of"));
    let mark = mark_asked_for(views, view, &mut query)?;
    let (sku, nodes, tenant) = (query.take("sku"), query.take("nodes"), query.take("tenant"));
    query.finish(&PARAMETERS.join(", "))?;
    let sku = sku.filter(|sku| !sku.is_empty()).ok_or_else(|| Failure::missing("sku"))?;
    let nodes = parse_nodes(nodes, named.iter().map(|(_, node)| node.as_str()))?;
    let rows = views.shelf::<Availability>().store().at(mark.tick)?;
    let tenant = match tenant {
        Some(tenant) => Name::new(tenant),
        None => only_tenant(&rows)?,
    };
    // The past is judged by its own time; the present by whichever clock is ahead.
    let at_ms = if is_as_of { mark.time_ms } else { mark.time_ms.max(request.at_ms.unwrap_or(mark.time_ms)) };

    let answers = nodes.into_iter().map(|node| answer_of(row_of(&rows, &tenant, sku, node), node, at_ms));
    let answers: Vec<Value> = answers.collect();
    let mut body = views.head(mark);
    body.insert("at_ms".to_owned(), time_as_json(at_ms));
    body.insert("tenant".to_owned(), json!(tenant));
    body.insert("sku".to_owned(), json!(sku));
    body.insert("nodes".to_owned(), Value::Array(answers));
    Ok(Value::Object(body).to_string())
}

fn parse_nodes<'a>(list: Option<&'a str>, named: impl Iterator<Item = &'a str>) -> Result<Vec<&'a str>, Failure> {
    let nodes: Vec<&str> = list.into_iter().flat_map(|list| list.split(',')).chain(named).collect();
    if nodes.is_empty() {
        return Err(Failure::missing("nodes"));
    }
    if nodes.iter().any(|node| node.is_empty()) {
        return Err(Failure::bad_request(
            "`nodes` has to be names with a comma between them, and each `node` a name, none of them empty",
        ));
    }
    if nodes.len() > NODES_MAX {
        return Err(Failure::bad_request(format!(
            "{} nodes are asked for, at most {NODES_MAX} are allowed; ask again for the rest",
            nodes.len()
        )));
    }
    Ok(nodes)
}

fn answer_of(row: Option<&AvailabilityRow>, node: &str, at_ms: TimeMs) -> Value {
    let Some(row) = row else {
        return json!({
            "node": node, "available": false, "reason": "unknown", "quantity": 0, "fresh_through_ms": null
        });
    };
    let is_stale = row.fresh_through_ms.is_some_and(|fresh_through_ms| at_ms > fresh_through_ms);
    json!({
        "node": node,
        "available": row.available && !is_stale,
        "reason": if is_stale { Reason::Stale } else { row.reason }.name(),
        "quantity": if is_stale { 0 } else { row.quantity },
        "fresh_through_ms": row.fresh_through_ms,
    })
}

/// The row of one key. Were there ever two, the first is the one that says no.
fn row_of<'a>(rows: &AsOf<'a, AvailabilityRow>, tenant: &str, sku: &str, node: &str) -> Option<&'a AvailabilityRow> {
    let wanted = (tenant, sku, node);
    let found = rows.matching(|row| (&*row.tenant, &*row.sku, &*row.node).cmp(&wanted)).next();
    found.map(|(row, _)| row)
}

/// The tenant, where there is but one; with several, not to say which could answer for another's stock.
fn only_tenant(rows: &AsOf<'_, AvailabilityRow>) -> Result<Name, Failure> {
    let mut tenants: Vec<&Name> = Vec::new();
    let behind = |tenant: Option<&Name>| match tenant {
        None => rows.range(..).next(),
        // The first row that lies behind all rows of the tenant.
        Some(tenant) => rows.from(|row| if row.tenant <= *tenant { Ordering::Less } else { Ordering::Greater }).next(),
    };
    while let Some((row, _)) = behind(tenants.last().copied()) {
        tenants.push(&row.tenant);
    }
    match tenants.as_slice() {
        [] => Ok(Name::default()),
        [tenant] => Ok((*tenant).clone()),
        several => {
            let names: Vec<&str> = several.iter().map(|tenant| tenant.as_str()).collect();
            Err(Failure::bad_request(format!("`tenant` is missing; there are {}", names.join(", "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::testing::{WIDE, all_views, ask, ask_at, available, changes};

    fn views() -> Views {
        let mut views = all_views(WIDE);
        let rows = vec![
            (available("north", "milk", "n1", 5, Some(10_000)), 1),
            (available("north", "milk", "n2", 0, None), 1),
            (available("north", "milk", "n10", 7, Some(20_000)), 1),
        ];
        views.apply_tick(0, 1_000, vec![changes::<Availability>(rows)], vec![]).unwrap();
        let change = vec![
            (available("north", "milk", "n1", 5, Some(10_000)), -1),
            (available("north", "milk", "n1", 4, Some(12_000)), 1),
        ];
        views.apply_tick(1, 2_000, vec![changes::<Availability>(change)], vec![]).unwrap();
        views
    }

    fn summary(body: &Value) -> Vec<(String, bool, String, i64)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let nodes = body["nodes"].as_array().unwrap().iter();
        nodes
            .map(|node| {
                let quantity = node["quantity"].as_i64().unwrap();
                (text(&node["node"]), node["available"].as_bool().unwrap(), text(&node["reason"]), quantity)
            })
            .collect()
    }

    fn line(node: &str, available: bool, reason: &str, quantity: i64) -> (String, bool, String, i64) {
        (node.to_owned(), available, reason.to_owned(), quantity)
    }

    #[test]
    fn each_node_has_an_answer_of_one_tick() {
        let (status, body) = ask(&views(), "/v1/availability", &[("sku", "milk"), ("nodes", "n1,n2,n3")]);
        assert_eq!((status, &body["tick"], &body["tenant"]), (200, &json!(1), &json!("north")));
        let expected = [line("n1", true, "in_stock", 4), line("n2", false, "out_of_stock", 0)];
        assert_eq!(summary(&body)[..2], expected);
        assert_eq!(summary(&body)[2], line("n3", false, "unknown", 0));
    }

    #[test]
    fn any_name_of_a_node_can_be_asked_for() {
        let mut views = all_views(WIDE);
        let nodes = ["a,b", "a/b", "100%", "%2C", "a b+c", "Köln\u{0}", ","];
        let rows = nodes.map(|node| (available("north", "milk", node, 5, None), 1)).to_vec();
        views.apply_tick(0, 1_000, vec![changes::<Availability>(rows)], vec![]).unwrap();
        let asked: Vec<(&str, &str)> = nodes.iter().map(|node| ("node", *node)).collect();
        let (status, body) =
            ask(&views, "/v1/availability", &[&[("sku", "milk"), ("nodes", "100%,n2")], &asked[..]].concat());
        assert_eq!(status, 200, "{body}");
        let found: Vec<String> = summary(&body).into_iter().filter(|node| node.1).map(|node| node.0).collect();
        assert_eq!(found, [&["100%"], &nodes[..]].concat());
    }

    #[test]
    fn an_answer_that_outlived_itself_is_no() {
        let question = [("sku", "milk"), ("nodes", "n1,n10")];
        let (_, body) = ask_at(&views(), "/v1/availability", &question, Some(12_000));
        assert_eq!(summary(&body)[0], line("n1", true, "in_stock", 4));
        let (_, body) = ask_at(&views(), "/v1/availability", &question, Some(12_001));
        assert_eq!(summary(&body), [line("n1", false, "stale", 0), line("n10", true, "in_stock", 7)]);
        let (_, body) = ask_at(&views(), "/v1/availability", &question, Some(0));
        assert_eq!(body["at_ms"], 2_000, "a clock behind the tick's own time does not count");
        let past = [("sku", "milk"), ("nodes", "n1"), ("as_of", "0")];
        let (_, body) = ask_at(&views(), "/v1/availability", &past, Some(99_000));
        assert_eq!((summary(&body), &body["at_ms"]), (vec![line("n1", true, "in_stock", 5)], &json!(1_000)));
    }

    #[test]
    fn questions_have_bounds() {
        let too_many = vec!["n"; NODES_MAX + 1].join(",");
        for query in [
            &[("sku", "milk"), ("nodes", too_many.as_str())][..],
            &[("sku", "milk")],
            &[("sku", ""), ("nodes", "n1")],
            &[("nodes", "n1")],
            &[("sku", "milk"), ("nodes", "n1,,n2")],
            &[("sku", "milk"), ("node", "")],
            &[("sku", "milk"), ("nodes", &too_many[2..]), ("node", "n1")],
            &[("sku", "milk"), ("nodes", "n1"), ("colour", "red")],
        ] {
            let (status, body) = ask(&views(), "/v1/availability", query);
            assert_eq!((status, body["error"]["code"].as_str()), (400, Some("bad_request")), "{query:?}");
        }
        let (status, _) = ask(&views(), "/v1/availability", &[("sku", "milk"), ("nodes", &too_many[2..])]);
        assert_eq!(status, 200);
    }

    #[test]
    fn among_several_tenants_one_is_to_be_named() {
        let mut views = views();
        let row = available("south", "milk", "n1", 1, Some(9_000));
        views.apply_tick(2, 3_000, vec![changes::<Availability>(vec![(row, 1)])], vec![]).unwrap();
        let (status, body) = ask(&views, "/v1/availability", &[("sku", "milk"), ("nodes", "n1")]);
        assert_eq!(status, 400);
        assert!(body["error"]["message"].as_str().unwrap().contains("north, south"), "{body}");
        let (_, body) = ask(&views, "/v1/availability", &[("sku", "milk"), ("nodes", "n1"), ("tenant", "south")]);
        assert_eq!(summary(&body), [line("n1", true, "in_stock", 1)]);
    }
}
