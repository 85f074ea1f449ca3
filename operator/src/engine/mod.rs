//! A wish → other controllers' objects → what they answered. Pure.
