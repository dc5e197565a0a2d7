//! The shop's documents. Each depends on the plan and its index alone, so batches can be made in any order.

use bson::{RawArrayBuf, RawDocumentBuf, rawdoc};

use crate::dice::{Dice, moment, object_id};
use crate::plan::{Collection, Plan};
use crate::words;

/// Makes the `index`-th document of a collection.
pub fn make(plan: &Plan, collection: Collection, index: u64) -> RawDocumentBuf {
    let dice = Dice::new(plan.seed, collection.name(), index);
    match collection {
        Collection::Tenants => tenant(plan, &dice, index),
        Collection::Users => user(plan, &dice, index),
        Collection::Products => product(plan, index),
        Collection::Orders => order(plan, &dice, index),
        Collection::Payments => payment(plan, &dice, index),
        Collection::Events => event(plan, &dice, index),
        Collection::AuditLog => audit_entry(plan, &dice, index),
        Collection::Visits => visit(plan, &dice, index),
    }
}

fn tenant(plan: &Plan, dice: &Dice, index: u64) -> RawDocumentBuf {
    let town = dice.pick(words::TOWNS);
    rawdoc! {
        "_id": tenant_name(index),
        "name": format!("{} {} {town}", dice.pick(words::BRANDS), dice.pick(words::TRADES)),
        "plan": dice.pick(&["free", "starter", "business"]),
        "currency": "KES",
        "contact": { "email": format!("info@{}.example.co.ke", tenant_name(index)), "town": town },
        "settings": { "vat_percent": 16, "languages": ["en", "sw"], "low_stock_alert": dice.between(2, 20) },
        "created_at": moment(index, plan.count(Collection::Tenants)),
    }
}

fn user(plan: &Plan, dice: &Dice, index: u64) -> RawDocumentBuf {
    let (first, last) = (dice.pick(words::FIRST_NAMES), dice.pick(words::LAST_NAMES));
    let count = plan.count(Collection::Users);
    let mut user = rawdoc! {
        "_id": object_id("users", index, count),
        "tenant": tenant_of(plan, index),
        "email": format!("{}.{}{index}@example.com", first.to_lowercase(), last.to_lowercase()),
        "name": { "first": first, "last": last },
        "roles": ["customer"],
        "password": { "method": "argon2id", "salt": dice.bytes(16), "hash": dice.bytes(32) },
        "language": dice.pick(&["en", "sw"]),
        "address": { "street": dice.pick(words::STREETS), "town": dice.pick(words::TOWNS), "country": "KE" },
        "preferences": {
            "newsletter": dice.chance(30),
            "sms": dice.chance(80),
            "theme": dice.pick(&["light", "dark"]),
            "delivery": dice.pick(words::DELIVERY),
        },
        "loyalty_points": dice.between(0, 5_000),
        "last_seen_at": moment(index + dice.below(count - index), count),
    };
    if dice.chance(80) {
        user.append(bson::cstr!("phone"), format!("+2547{:08}", dice.below(100_000_000)));
    }
    user
}

/// A product has its own dice, because orders make the same product again to copy its name and price.
fn product(plan: &Plan, index: u64) -> RawDocumentBuf {
    let ware = Ware::new(plan, index);
    let dice = Dice::new(plan.seed, "description", index);
    let mut tags = RawArrayBuf::new();
    (0..dice.between(0, 4)).for_each(|_| tags.push(dice.pick(words::TAGS)));
    rawdoc! {
        "_id": ware.id,
        "tenant": tenant_of(plan, index),
        "sku": ware.sku.as_str(),
        "name": ware.name,
        "description": dice.sentence(words::PROSE, dice.between(40, 100)),
        "category": dice.pick(words::CATEGORIES),
        "price": Dice::money(ware.cents),
        "currency": "KES",
        "stock": dice.between(0, 400),
        "attributes": {
            "colour": dice.pick(words::COLOURS),
            "material": dice.pick(words::MATERIALS),
            "weight_grams": dice.between(1, 500) * 50,
        },
        "tags": tags,
        "pictures": [format!("https://pictures.example.com/{}/front.jpg", ware.sku)],
        "active": dice.chance(95),
        "updated_at": moment(index, plan.count(Collection::Products)),
    }
}

fn order(plan: &Plan, dice: &Dice, index: u64) -> RawDocumentBuf {
    let (count, users) = (plan.count(Collection::Orders), plan.count(Collection::Users));
    let placed_at = moment(index, count);
    let (items, cents) = order_items(plan, dice);
    let (longitude, latitude) = dice.place();
    let status = dice.pick(words::ORDER_STATES);
    rawdoc! {
        "_id": object_id("orders", index, count),
        "tenant": tenant_of(plan, dice.skewed(plan.count(Collection::Tenants))),
        "number": i64::try_from(index + 100_001).expect("orders are fewer"),
        "customer": object_id("users", dice.below(users), users),
        "status": status,
        "channel": dice.pick(words::CHANNELS),
        "checkout": { "id": dice.uuid(), "token": dice.bytes(48) },
        "items": items,
        "totals": {
            "goods": Dice::money(cents),
            "vat": Dice::money(cents * 16 / 100),
            "delivery": Dice::money(20_000),
            "currency": "KES",
        },
        "delivery": {
            "method": dice.pick(words::DELIVERY),
            "street": dice.pick(words::STREETS),
            "town": dice.pick(words::TOWNS),
            "location": { "type": "Point", "coordinates": [longitude, latitude] },
            "notes": dice.pick(words::NOTES),
        },
        "history": [
            { "status": "placed", "at": placed_at, "by": "customer" },
            { "status": status, "at": moment(index + 1, count), "by": dice.pick(&["system", "staff"]) },
        ],
        "placed_at": placed_at,
    }
}

/// Returns an order's items and what they cost.
fn order_items(plan: &Plan, dice: &Dice) -> (RawArrayBuf, u64) {
    let mut items = RawArrayBuf::new();
    let mut sum = 0;
    for _ in 0..=dice.skewed(6) {
        let ware = Ware::new(plan, dice.skewed(plan.count(Collection::Products)));
        let quantity = dice.between(1, 6);
        let cents = ware.cents * u64::from(quantity.unsigned_abs());
        sum += cents;
        items.push(rawdoc! {
            "_id": dice.uuid(),
            "product": ware.id,
            "sku": ware.sku,
            "name": ware.name,
            "quantity": quantity,
            "unit_price": Dice::money(ware.cents),
            "total": Dice::money(cents),
            "tax": { "kind": "VAT", "percent": 16 },
        });
    }
    (items, sum)
}

fn payment(plan: &Plan, dice: &Dice, index: u64) -> RawDocumentBuf {
    let (count, orders) = (plan.count(Collection::Payments), plan.count(Collection::Orders));
    let method = dice.pick(words::METHODS);
    let state = dice.pick(words::PAYMENT_STATES);
    let cents = dice.between(1_000, 900_000).unsigned_abs();
    rawdoc! {
        "_id": object_id("payments", index, count),
        "tenant": tenant_of(plan, dice.skewed(plan.count(Collection::Tenants))),
        "order": object_id("orders", index % orders, orders),
        "reference": format!("{}-{:04X}{index:08}", method.to_uppercase(), dice.below(0x1_0000)),
        "method": method,
        "amount": Dice::money(cents.into()),
        "fee": Dice::money((cents / 50).into()),
        "currency": "KES",
        "state": state,
        "provider": {
            "name": "Lipa Gateway",
            "response_code": if state == "failed" { "1032" } else { "0" },
            "response_text": if state == "failed" { "Request cancelled by user" } else { "The service request is processed successfully." },
            "request": dice.uuid(),
            "signature": dice.bytes(32),
        },
        "paid_at": moment(index, count),
    }
}

fn event(plan: &Plan, dice: &Dice, index: u64) -> RawDocumentBuf {
    let count = plan.count(Collection::Events);
    let users = plan.count(Collection::Users);
    // A visitor makes several events in a row.
    let visitor = Dice::new(plan.seed, "visitor", index / 4);
    let tenant = tenant_of(plan, visitor.skewed(plan.count(Collection::Tenants)));
    let page = dice.pick(words::PAGES);
    let url = format!("https://{tenant}.example.co.ke{page}");
    let mut event = rawdoc! {
        "_id": object_id("events", index, count),
        "tenant": tenant,
        "kind": dice.pick(words::EVENT_KINDS),
        "at": moment(index, count),
        "session": visitor.uuid(),
        "device_id": visitor.uuid(),
        "trace": { "id": dice.uuid(), "span": dice.bytes(8), "parent": dice.bytes(8), "signature": dice.bytes(32) },
        "address": format!("197.{}.{}.{}", visitor.below(256), visitor.below(256), visitor.below(256)),
        "user": object_id("users", visitor.below(users), users),
        "url": url,
        "referrer": dice.pick(words::REFERRERS),
        "agent": format!("{} Build/{:08x}", visitor.pick(words::AGENTS), visitor.below(1 << 32)),
        "device": { "system": visitor.pick(words::SYSTEMS), "width": visitor.pick(&["360", "412", "1366"]), "touch": true },
        "duration_ms": dice.between(5, 30_000),
        "load_ms": f64::from(dice.between(100, 90_000)) / 10.0,
        "query": dice.sentence(words::PROSE, dice.between(0, 8)),
        "experiment": visitor.pick(words::EXPERIMENTS),
    };
    if dice.chance(60) {
        let products = plan.count(Collection::Products);
        event.append(bson::cstr!("product"), Ware::new(plan, dice.skewed(products)).id);
    }
    event
}

fn audit_entry(plan: &Plan, dice: &Dice, index: u64) -> RawDocumentBuf {
    let count = plan.count(Collection::AuditLog);
    rawdoc! {
        "_id": object_id("audit_log", index, count),
        "tenant": tenant_of(plan, dice.below(plan.count(Collection::Tenants))),
        "action": dice.pick(words::ACTIONS),
        "by": format!("{} {}", dice.pick(words::FIRST_NAMES), dice.pick(words::LAST_NAMES)),
        "detail": dice.sentence(words::PROSE, 6),
        "at": moment(index, count),
    }
}

fn visit(plan: &Plan, dice: &Dice, index: u64) -> RawDocumentBuf {
    let count = plan.count(Collection::Visits);
    rawdoc! {
        "_id": object_id("visits", index, count),
        "at": moment(index, count),
        "tenant": tenant_of(plan, dice.below(plan.count(Collection::Tenants))),
        "visitors": dice.between(0, 80),
        "median_ms": f64::from(dice.between(1_000, 9_000)) / 10.0,
    }
}

/// What an order copies from a product.
struct Ware {
    id: bson::Binary,
    sku: String,
    name: String,
    cents: u64,
}

impl Ware {
    fn new(plan: &Plan, index: u64) -> Self {
        let dice = Dice::new(plan.seed, "ware", index);
        let name = format!("{} {} {}", dice.pick(words::BRANDS), dice.pick(words::GOODS), dice.pick(words::ADJECTIVES));
        Self { id: dice.uuid(), sku: format!("SKU-{index:07}"), name, cents: dice.below(1_000) * 500 + 5_000 }
    }
}

fn tenant_of(plan: &Plan, index: u64) -> String {
    tenant_name(index % plan.count(Collection::Tenants))
}

fn tenant_name(index: u64) -> String {
    format!("duka-{:04}", index + 1)
}
