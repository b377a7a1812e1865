import service

service.Backoff().delay(3000)
