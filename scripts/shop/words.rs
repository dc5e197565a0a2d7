//! The vocabulary of the shop's documents.

pub const FIRST_NAMES: &[&str] = &[
    "Amina", "Brian", "Caroline", "David", "Esther", "Faith", "George", "Halima", "Ibrahim", "Joyce", "Kevin", "Lucy",
    "Mercy", "Naomi", "Otieno", "Purity", "Quinter", "Rashid", "Samuel", "Teresia", "Umi", "Victor", "Wanjiru",
    "Zawadi",
];
pub const LAST_NAMES: &[&str] = &[
    "Achieng", "Barasa", "Chebet", "Gitau", "Hassan", "Juma", "Kamau", "Kiptoo", "Langat", "Mutua", "Mwangi", "Njeri",
    "Njoroge", "Nyambura", "Odhiambo", "Okoth", "Omondi", "Otieno", "Rotich", "Wafula", "Wambui", "Wekesa",
];
pub const TOWNS: &[&str] =
    &["Nairobi", "Mombasa", "Kisumu", "Nakuru", "Eldoret", "Thika", "Malindi", "Kitale", "Nyeri"];
pub const STREETS: &[&str] = &[
    "Moi Avenue",
    "Kenyatta Avenue",
    "Ngong Road",
    "Kimathi Street",
    "Biashara Street",
    "Oginga Odinga Street",
    "Nkrumah Road",
    "Tom Mboya Street",
    "Waiyaki Way",
    "Haile Selassie Avenue",
    "Uhuru Highway",
    "River Road",
];
pub const TRADES: &[&str] =
    &["Duka", "Traders", "Stores", "Hardware", "Electronics", "Wholesalers", "Boutique", "Farm"];
pub const CATEGORIES: &[&str] =
    &["groceries", "beverages", "household", "electronics", "stationery", "clothing", "hardware", "cosmetics", "farm"];
pub const GOODS: &[&str] = &[
    "maize flour",
    "cooking oil",
    "sugar",
    "tea leaves",
    "rice",
    "washing soap",
    "torch",
    "phone charger",
    "notebook",
    "kitenge",
    "padlock",
    "water tank",
    "blanket",
    "sandals",
    "shaving cream",
    "seed potatoes",
    "wire mesh",
    "radio",
];
pub const BRANDS: &[&str] =
    &["Baraka", "Jamii", "Kilimo", "Mwangaza", "Pendo", "Rafiki", "Safi", "Simba", "Tausi", "Ubora"];
pub const ADJECTIVES: &[&str] = &["large", "small", "family", "fresh", "classic", "premium", "economy", "export"];
pub const COLOURS: &[&str] = &["black", "white", "blue", "green", "red", "yellow", "brown"];
pub const MATERIALS: &[&str] = &["plastic", "steel", "cotton", "paper", "glass", "wood", "aluminium"];
pub const TAGS: &[&str] = &["new", "offer", "bulk", "fragile", "seasonal", "imported", "local", "bestseller"];
pub const PROSE: &[&str] = &[
    "a",
    "and",
    "at",
    "best",
    "by",
    "carefully",
    "clean",
    "customers",
    "daily",
    "delivered",
    "durable",
    "easy",
    "every",
    "family",
    "farmers",
    "finest",
    "for",
    "from",
    "good",
    "guaranteed",
    "home",
    "in",
    "is",
    "it",
    "keeps",
    "kitchen",
    "lasting",
    "light",
    "long",
    "made",
    "market",
    "natural",
    "of",
    "on",
    "our",
    "packed",
    "price",
    "quality",
    "ready",
    "selected",
    "shop",
    "strong",
    "tested",
    "that",
    "the",
    "to",
    "trusted",
    "use",
    "value",
    "warranty",
    "well",
    "with",
    "without",
    "year",
    "your",
];
pub const ORDER_STATES: &[&str] = &["delivered", "delivered", "delivered", "shipped", "paid", "cancelled", "pending"];
pub const CHANNELS: &[&str] = &["web", "android", "android", "ussd", "counter"];
pub const DELIVERY: &[&str] = &["boda", "pickup", "courier", "matatu parcel"];
pub const NOTES: &[&str] = &[
    "",
    "",
    "",
    "call on arrival",
    "leave with the watchman",
    "deliver after 5 pm",
    "gate is blue, next to the church",
];
pub const METHODS: &[&str] = &["mpesa", "mpesa", "mpesa", "airtel", "card", "cash"];
pub const PAYMENT_STATES: &[&str] = &["settled", "settled", "settled", "refunded", "failed"];
pub const EVENT_KINDS: &[&str] =
    &["page.viewed", "product.viewed", "product.viewed", "search.run", "cart.added", "cart.removed", "checkout.begun"];
pub const PAGES: &[&str] = &["/", "/offers", "/search", "/cart", "/account/orders", "/help/delivery", "/products"];
pub const REFERRERS: &[&str] =
    &["", "", "https://www.google.com/", "https://www.facebook.com/", "https://t.co/", "android-app://com.whatsapp"];
pub const AGENTS: &[&str] = &[
    "Mozilla/5.0 (Linux; Android 13; TECNO KI5k) AppleWebKit/537.36 Chrome/126.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (Linux; Android 12; SM-A125F) AppleWebKit/537.36 Chrome/125.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Version/17.5 Mobile/15E148 Safari/604.1",
    "Opera/9.80 (Android; Opera Mini/69.0/191.308; U; en) Presto/2.12.423 Version/12.16",
];
pub const SYSTEMS: &[&str] = &["Android", "Android", "Android", "Windows", "iOS", "KaiOS"];
pub const EXPERIMENTS: &[&str] = &["control", "control", "new-checkout", "bigger-pictures"];
pub const ACTIONS: &[&str] = &["login", "price.changed", "stock.adjusted", "refund.approved", "user.invited"];
