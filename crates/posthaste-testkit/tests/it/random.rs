//! The model behind the port agrees with the model, and the lives get everywhere.

use posthaste_testkit::random::campaign;

#[test]
fn the_model_agrees_with_itself() {
    campaign(crate::conformance::model, 1, 80, 400);
}
