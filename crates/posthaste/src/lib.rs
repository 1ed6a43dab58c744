//! Placeholder for posthaste.
