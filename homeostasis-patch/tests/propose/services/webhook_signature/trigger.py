import service

service.receive("s", "t=100,v1=00,", "{}", 120)
