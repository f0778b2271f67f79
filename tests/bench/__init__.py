"""The speed bench: our workers beside their peers, on a Kafka of the bench's own."""
