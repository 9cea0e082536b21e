//! Which questions become which statements, and which become none.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn query(entity_type: &str, filters: Value) -> Query {
    let Value::Object(filters) = filters else { panic!("{filters} is no object") };
    Query {
        entity_type: entity_type.to_owned(),
        filters,
        sort_by: None,
        sort_order: None,
        limit: 10,
        offset: 0,
    }
}

/// The condition that filters on steps become.
fn condition_of(filters: Value) -> Result<(String, Vec<String>), QueryError> {
    let Select { sql, values } = Select::of(&query("WORKFLOW_STEP", filters))?;
    let condition = sql.split(" WHERE ").nth(1).map_or("", |rest| {
        rest.split(" ORDER BY ").next().expect("the first part is always there")
    });
    Ok((condition.to_owned(), values))
}

#[test]
fn filters_become_conditions_with_their_values_bound() {
    let id = "00000000-0000-0000-0000-00000000000a";
    for (filters, condition, values) in [
        (json!({}), "", vec![]),
        (json!({ "status": "it's" }), "status = $1::text", vec!["it's"]),
        (json!({ "step_order__gte": 3 }), "step_order >= $1::text::bigint", vec!["3"]),
        (
            json!({ "step_order": { "gt": 1, "lt": 9 } }),
            "step_order > $1::text::bigint AND step_order < $2::text::bigint",
            vec!["1", "9"],
        ),
        (json!({ "id": [id] }), "id IN ($1::text::uuid)", vec![id]),
        (json!({ "error_message": null }), "error_message IS NULL", vec![]),
        (json!({ "error_message__ne": null }), "error_message IS NOT NULL", vec![]),
        (json!({ "status__ne": "x" }), "status IS DISTINCT FROM $1::text", vec!["x"]),
        (
            json!({ "created_at__lte": "2025-01-02T03:04:05" }),
            "created_at <= $1::text::timestamptz",
            vec!["2025-01-02T03:04:05.000000000Z"],
        ),
    ] {
        let (sql, bound) = condition_of(filters.clone()).expect("it is allowed");
        assert_eq!(
            (sql.as_str(), bound),
            (condition, values.into_iter().map(str::to_owned).collect())
        );
    }
}

#[test]
fn what_is_on_no_list_is_refused_by_name() {
    for (filters, field) in [
        (json!({ "event_key": "x" }), "filters"),
        (json!({ "status\" = '' OR 1=1 --": "x" }), "filters"),
        (json!({ "status; DROP TABLE streams": "x" }), "filters"),
        (json!({ "status__like": "%" }), "status"),
        (json!({ "status__= '' OR ''": "x" }), "status"),
        (json!({ "status": { "): DELETE FROM streams; --": 1 } }), "status"),
        (json!({ "status": 1 }), "status"),
        (json!({ "status": "\u{0}" }), "status"),
        (json!({ "status__lt": null }), "status"),
        (json!({ "status__in": [] }), "status"),
        (json!({ "status__in": [["x"]] }), "status"),
        (json!({ "step_order": "1 OR 1=1" }), "step_order"),
        (json!({ "step_order": 1.5 }), "step_order"),
        (json!({ "step_data": {"eq": {}} }), "step_data"),
        (json!({ "id": "' OR ''='" }), "id"),
        (json!({ "created_at": "now()" }), "created_at"),
    ] {
        match condition_of(filters.clone()) {
            Err(QueryError::Refused { field: named, .. }) => assert_eq!(named, field, "{filters}"),
            other => panic!("{filters}: {other:?}"),
        }
    }
    let many: Vec<i32> = (0..=VALUES_MAX as i32).collect();
    assert!(condition_of(json!({ "step_order": many })).is_err());
    for entity in ["stampd_tokens", "pg_authid", "workflow_steps; --", "", "public.workflow_steps"]
    {
        assert!(Select::of(&query(entity, json!({}))).is_err(), "{entity}");
    }
    for (sort_by, sort_order) in [
        ("step_name, (SELECT 1)", None),
        ("step_data", None),
        ("1", None),
        ("step_name", Some("desc; --")),
    ] {
        let sorted = Query {
            sort_by: Some(sort_by.to_owned()),
            sort_order: sort_order.map(str::to_owned),
            ..query("workflow_step", json!({}))
        };
        assert!(Select::of(&sorted).is_err(), "{sort_by} {sort_order:?}");
    }
}

#[test]
fn an_order_is_total() {
    let of = |sort_by: Option<&str>, sort_order: Option<&str>| {
        let (sort_by, sort_order) = (sort_by.map(str::to_owned), sort_order.map(str::to_owned));
        let query = Query { sort_by, sort_order, ..query("node_heartbeat", json!({})) };
        let sql = Select::of(&query).expect("it is allowed").sql;
        let rest = sql.split(" ORDER BY ").nth(1).expect("there is an order");
        rest.split(" LIMIT ").next().expect("the first part is always there").to_owned()
    };
    assert_eq!(of(None, None), "node_id ASC");
    assert_eq!(of(Some("node_id"), Some("DESC")), "node_id DESC");
    assert_eq!(of(Some("last_heartbeat"), Some("desc")), "last_heartbeat DESC, node_id DESC");
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("status".to_owned()),
        Just("step_order".to_owned()),
        "[a-z_]{1,12}",
        "status__[a-z=<>'; ]{0,8}",
        ".{0,20}",
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(word(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Whatever is asked: the statement is of our own words, and nothing but places for values.
    #[test]
    fn no_word_of_a_question_gets_into_the_statement(
        filters in proptest::collection::btree_map(word(), value(), 0..4),
        sort_by in proptest::option::of(word()),
        sort_order in proptest::option::of(".{0,8}"),
    ) {
        let filters = Value::Object(filters.into_iter().collect());
        let asked = Query { sort_by, sort_order, ..query("workflow_step", filters) };
        let Ok(select) = Select::of(&asked) else { return Ok(()) };
        let entity = Entity::find("workflow_step").expect("it is known");
        let ours = |word: &str| {
            ["AND", "ASC", "BY", "DESC", "DISTINCT", "FROM", "IN", "IS", "LIMIT", "NOT", "NULL",
                "OFFSET", "ORDER", "SELECT", "WHERE", "bigint", "public", "q", "text",
                "timestamptz", "to_jsonb", "uuid", entity.table].contains(&word)
                || entity.field(word).is_some()
                || word.bytes().all(|byte| byte.is_ascii_digit())
        };
        let words = select.sql.split(|c: char| !c.is_alphanumeric() && c != '_');
        for word in words.filter(|word| !word.is_empty()) {
            prop_assert!(ours(word), "{word} in {}", select.sql);
        }
        prop_assert!(!select.sql.contains(['\'', '"', ';', '-', '\\']));
        let places = select.sql.matches('$').count();
        prop_assert_eq!(places, select.values.len());
    }
}

#[test]
fn a_server_that_is_not_heard_from_is_no_fault_of_the_question() {
    // It was said to take too long, and the session was used again with its answer still to come.
    let blamed = blame(StoreError::Timeout(PATIENCE));
    assert!(matches!(blamed, QueryError::Store(StoreError::Timeout(_))), "{blamed:?}");
}
