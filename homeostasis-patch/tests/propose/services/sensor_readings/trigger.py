import service

service.summary(["cellar;7.5", "cellar;n/a"])
