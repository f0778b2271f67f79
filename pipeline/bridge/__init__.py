"""MQTT in: decode, batch per partition, acknowledge after Kafka."""
