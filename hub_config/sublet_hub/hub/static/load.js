// Starts the JupyterHub script that a page names: <script src="load.js" data-module="token">.
window.require([document.currentScript.dataset.module]);
