# One static binary and nothing else. CGO_ENABLED=0 and -trimpath as in the Makefile; timetzdata brings the time zones
# that maintenance windows name, because an empty image has none.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -tags timetzdata -ldflags "-s -w" -o /goshawk .

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /goshawk /goshawk
USER 65532:65532
ENTRYPOINT ["/goshawk"]
