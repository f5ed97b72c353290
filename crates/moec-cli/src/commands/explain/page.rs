//! The account as one page of HTML that needs no network: `page.html` with the data in its place.

use super::account::Account;

const PAGE: &str = include_str!("page.html");

/// Where the data go.
const DATA: &str = "{{data}}";

/// The page. Everything that is shown stands in the element `data`, as JSON.
pub(super) fn page(account: &Account) -> Result<String, serde_json::Error> {
    // A `<` in a string could end the element.
    let data = serde_json::to_string(account)?.replace('<', "\\u003c");
    Ok(PAGE.replacen(DATA, &data, 1))
}
