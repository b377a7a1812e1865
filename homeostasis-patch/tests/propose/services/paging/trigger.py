import service

service.page([], None, 10)
