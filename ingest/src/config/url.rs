//! Database URLs, as they may be shown.

/// A database URL without what may be secret: the password, and parameters, where one may stand too.
pub(super) fn masked(text: &str) -> String {
    const MASK: &str = "****";
    let Ok(mut url) = url::Url::parse(text) else {
        return MASK.to_owned();
    };
    if url.password().is_some() && url.set_password(Some(MASK)).is_err() {
        return MASK.to_owned();
    }
    let pairs: Vec<(String, String)> = url
        .query_pairs()
        .map(|(name, value)| match &*name {
            "host" | "port" | "dbname" | "sslmode" => (name.into_owned(), value.into_owned()),
            _ => (name.into_owned(), MASK.to_owned()),
        })
        .collect();
    if !pairs.is_empty() {
        url.query_pairs_mut().clear().extend_pairs(pairs);
    }
    url.into()
}
