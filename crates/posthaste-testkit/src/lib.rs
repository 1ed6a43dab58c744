//! Placeholder for posthaste-testkit.
