import service

service.Consumer(print).consume(["<xml/>"])
