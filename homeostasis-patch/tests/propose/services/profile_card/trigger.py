import service

service.card(service.Customer("Cy Dee"))
