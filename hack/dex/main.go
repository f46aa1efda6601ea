// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Command dex runs the server of dex, an OpenID Connect provider, for tests: everything but its
// users is as in the program dex. The users, with their passwords and groups, are in the file that
// its argument names, because users in the configuration of dex have no groups. The file is read
// again for each login and each refresh, so a test can change or remove a user.
//
// It is in a module of its own because dex has many dependencies.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	gosundheit "github.com/AppsFlyer/go-sundheit"
	"github.com/dexidp/dex/connector"
	"github.com/dexidp/dex/server"
	"github.com/dexidp/dex/storage"
	"github.com/dexidp/dex/storage/memory"
	"github.com/dexidp/dex/web"
	"github.com/prometheus/client_golang/prometheus"
)

// settings is the content of the file.
type settings struct {
	// Issuer is the URL of the provider. The server listens on its host and port.
	Issuer string
	// IDTokenSeconds is how long an ID token is valid.
	IDTokenSeconds int
	Clients        []storage.Client
	Users          []user
}

type user struct {
	Name, Password, Email string
	Groups                []string
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: dex FILE")
	}
	if err := serve(os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func serve(file string) error {
	s, err := read(file)
	if err != nil {
		return err
	}
	issuer, err := url.Parse(s.Issuer)
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	store := storage.WithStaticClients(memory.New(logger), s.Clients)
	server.ConnectorsConfig["file"] = func() server.ConnectorConfig { return &users{file: file} }
	store = storage.WithStaticConnectors(store, []storage.Connector{{ID: "file", Type: "file", Name: "Users"}})
	refresh, err := server.NewRefreshTokenPolicy(logger, false, "", "", "")
	if err != nil {
		return err
	}
	dex, err := server.NewServer(context.Background(), server.Config{
		Issuer: s.Issuer, Storage: store, SkipApprovalScreen: true, RefreshTokenPolicy: refresh,
		IDTokensValidFor: time.Duration(s.IDTokenSeconds) * time.Second,
		Web:              server.WebConfig{WebFS: web.FS()},
		Logger:           logger, PrometheusRegistry: prometheus.NewRegistry(), HealthChecker: gosundheit.New(),
	})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", issuer.Host)
	if err != nil {
		return err
	}
	return http.Serve(listener, dex)
}

func read(file string) (settings, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return settings{}, err
	}
	var s settings
	if err := json.Unmarshal(text, &s); err != nil {
		return settings{}, fmt.Errorf("%s: %w", file, err)
	}
	return s, nil
}

// users is a connector of dex: the users of the file.
type users struct{ file string }

var _ interface {
	connector.PasswordConnector
	connector.RefreshConnector
} = &users{}

// Open implements server.ConnectorConfig.
func (u *users) Open(string, *slog.Logger) (connector.Connector, error) { return u, nil }

// Prompt implements connector.PasswordConnector.
func (u *users) Prompt() string { return "Name" }

// Login implements connector.PasswordConnector.
func (u *users) Login(_ context.Context, _ connector.Scopes, name, password string) (connector.Identity, bool, error) {
	found, err := u.find(name)
	if err != nil || found == nil || found.Password != password {
		return connector.Identity{}, false, err
	}
	return found.identity(), true, nil
}

// Refresh implements connector.RefreshConnector.
func (u *users) Refresh(_ context.Context, _ connector.Scopes, identity connector.Identity) (connector.Identity, error) {
	found, err := u.find(identity.UserID)
	if err == nil && found == nil {
		err = errors.New("the user was removed")
	}
	if err != nil {
		return connector.Identity{}, err
	}
	return found.identity(), nil
}

func (u *users) find(name string) (*user, error) {
	s, err := read(u.file)
	if err != nil {
		return nil, err
	}
	for i, user := range s.Users {
		if user.Name == name {
			return &s.Users[i], nil
		}
	}
	return nil, nil
}

func (u *user) identity() connector.Identity {
	return connector.Identity{UserID: u.Name, Username: u.Name, PreferredUsername: u.Name, Email: u.Email, EmailVerified: u.Email != "", Groups: u.Groups}
}
