"""Conversations, from files to weighted batches."""
