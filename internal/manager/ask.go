// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"k8s.io/client-go/rest"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// checkTimeout limits a request to an API server that does not respond.
const checkTimeout = 5 * time.Second

// checkAPIServer returns nil when the API server responds and serves Goshawk's kinds, and otherwise
// an error that says what the process waits for.
func checkAPIServer(ctx context.Context, config *rest.Config) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return fmt.Errorf("make HTTP client: %w", err)
	}
	server, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return fmt.Errorf("find the API server: %w", err)
	}
	kinds := server.JoinPath("apis", v1alpha1.GroupVersion.Group, v1alpha1.GroupVersion.Version)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, kinds.String(), nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("waiting for the API server: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	switch response.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusNotFound:
		return errors.New("waiting for the CustomResourceDefinitions of " + v1alpha1.GroupVersion.String() + ": install config/crd")
	}
	return fmt.Errorf("waiting for the API server: %s returns %s", kinds, response.Status)
}
