//! Tasks, controllers, retry policy, lease, clock.
